"""Bits inside words: two signed 4-bit codes per byte, streams of bits, and 32 spikes per word."""

import numpy as np

from shared.tensors.dtypes import I8, U8, U32, Array

WORD_BITS = 32


def join_nibbles(codes: I8) -> U8:
    """Pack signed 4-bit codes, two to a byte.

    The even column is the low nibble, in two's complement, so the bytes are those of ONNX INT4.
    An odd last column shares its byte with a zero.

    Args:
        codes: (..., cols) int8, each in -8..7.

    Returns:
        (..., ceil(cols / 2)) uint8.

    Raises:
        ValueError: a code does not fit in four bits.
    """
    if codes.size and (codes.min() < -8 or codes.max() > 7):
        raise ValueError(f"4-bit codes are -8..7, got {codes.min()}..{codes.max()}")
    return join_places(codes.astype(np.uint8) & np.uint8(0xF))


def join_places(places: U8) -> U8:
    """Pack numbers of 4 bits without a sign, such as the places of an N:M tensor, two to a byte.

    Args:
        places: (..., cols) uint8, each in 0..15.

    Returns:
        (..., ceil(cols / 2)) uint8, the even column in the low nibble.
    """
    if places.shape[-1] % 2:
        places = np.concatenate([places, np.zeros_like(places[..., :1])], axis=-1)
    return (places[..., 0::2] | (places[..., 1::2] << 4)).astype(np.uint8)


def split_nibbles(packed: U8, cols: int) -> I8:
    """Undo `join_nibbles`.

    Args:
        packed: (..., ceil(cols / 2)) uint8.
        cols: columns of the result, needed because an odd count has a spare nibble.

    Returns:
        (..., cols) int8, each in -8..7.

    Raises:
        ValueError: `packed` has not the width that `cols` needs.
    """
    _require_width(packed, -(-cols // 2), cols)
    nibbles = np.stack([packed & 0xF, packed >> 4], axis=-1)
    flat = nibbles.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :cols]
    # Flipping the sign bit makes the code offset binary; subtracting the offset restores the sign.
    return (flat ^ 8).astype(np.int8) - np.int8(8)


def split_places(packed: U8, cols: int) -> U8:
    """Undo `join_nibbles` for numbers without a sign, such as the places of an N:M tensor.

    Args:
        packed: (..., ceil(cols / 2)) uint8.
        cols: columns of the result.

    Returns:
        (..., cols) uint8, each in 0..15.

    Raises:
        ValueError: `packed` has not the width that `cols` needs.
    """
    return split_nibbles(packed, cols).view(np.uint8) & np.uint8(0xF)


def join_bits(codes: U8, bits: int) -> U8:
    """Pack codes without a sign one behind the other; every row begins with a byte of its own.

    Args:
        codes: (..., cols) uint8, each below 2**bits.
        bits: of a code, 1 to 8.

    Returns:
        (..., ceil(cols bits / 8)) uint8: code i from bit i * bits on, its lowest bit first; the
        bits after the last code are zero.

    Raises:
        ValueError: a code does not fit.
    """
    if codes.size and int(codes.max()) >> bits:
        raise ValueError(f"{bits}-bit codes are 0..{(1 << bits) - 1}, got {codes.max()}")
    single = np.unpackbits(codes[..., np.newaxis], axis=-1, count=bits, bitorder="little")
    stream = single.reshape(*codes.shape[:-1], codes.shape[-1] * bits)
    return np.packbits(stream, axis=-1, bitorder="little")


def split_bits(packed: U8, cols: int, bits: int) -> U8:
    """Undo `join_bits`.

    Args:
        packed: (..., ceil(cols bits / 8)) uint8.
        cols: columns of the result.
        bits: of a code, 1 to 8.

    Returns:
        (..., cols) uint8.

    Raises:
        ValueError: `packed` has not the width that `cols` needs.
    """
    _require_width(packed, -(-cols * bits // 8), cols)
    single = np.unpackbits(packed, axis=-1, count=cols * bits, bitorder="little")
    return np.packbits(
        single.reshape(*packed.shape[:-1], cols, bits), axis=-1, bitorder="little"
    ).reshape(*packed.shape[:-1], cols)


def join_spikes(spikes: Array) -> U32:
    """Pack spikes into words: bit i of word w is neuron 32 w + i, unused high bits are zero.

    Args:
        spikes: (..., n) of any element type; an element that is not zero is a spike.

    Returns:
        (..., ceil(n / 32)) uint32.
    """
    count = spikes.shape[-1]
    words = -(-count // WORD_BITS)
    padded = np.zeros((*spikes.shape[:-1], words * WORD_BITS), dtype=np.bool_)
    padded[..., :count] = spikes != 0
    packed = np.packbits(padded, axis=-1, bitorder="little")
    return packed.view("<u4").reshape(*spikes.shape[:-1], words)


def split_spikes(words: U32, count: int) -> U8:
    """Undo `join_spikes`.

    Args:
        words: (..., ceil(count / 32)) uint32.
        count: neurons.

    Returns:
        (..., count) uint8 of 0 and 1.

    Raises:
        ValueError: `words` has not the width that `count` needs.
    """
    _require_width(words, -(-count // WORD_BITS), count)
    octets = np.ascontiguousarray(words, dtype="<u4").view(np.uint8)
    octets = octets.reshape(*words.shape[:-1], 4 * words.shape[-1])
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little")


def _require_width(packed: Array, width: int, count: int) -> None:
    if packed.ndim == 0 or packed.shape[-1] != width:
        raise ValueError(f"{count} elements need {width} packed columns, got shape {packed.shape}")
