"""Bits inside words, by hand and round."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.tensors import packing
from shared.tensors.dtypes import I8, U8, Array

SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=70)


def test_the_even_column_is_the_low_nibble_in_twos_complement() -> None:
    codes = np.array([[1, 2, -1, -8, 7]], dtype=np.int8)

    packed = packing.join_nibbles(codes)

    # 1 | 2 << 4 = 0x21; -1 is 0xF, -8 is 0x8: 0x8F; 7 beside the spare zero: 0x07
    assert packed.tolist() == [[0x21, 0x8F, 0x07]]


def test_neuron_i_is_bit_i_of_its_word() -> None:
    spikes = np.zeros(34, dtype=np.float32)
    spikes[[0, 2, 31, 33]] = 1.0

    words = packing.join_spikes(spikes)

    assert words.tolist() == [0x80000005, 0x2]  # 2^31 + 2^2 + 2^0; 33 - 32 = bit 1


@given(arrays.arrays(np.int8, SHAPES, elements=st.integers(-8, 7)))
def test_nibbles_split_into_the_codes_that_were_joined(codes: I8) -> None:
    packed = packing.join_nibbles(codes)

    np.testing.assert_array_equal(packing.split_nibbles(packed, codes.shape[-1]), codes)


@given(arrays.arrays(np.bool_, SHAPES))
def test_words_split_into_the_spikes_that_were_joined(spikes: Array) -> None:
    words = packing.join_spikes(spikes)

    assert words.shape == (*spikes.shape[:-1], -(-spikes.shape[-1] // 32))
    np.testing.assert_array_equal(packing.split_spikes(words, spikes.shape[-1]), spikes)


@given(arrays.arrays(np.bool_, SHAPES))
def test_words_hold_as_many_bits_as_there_are_spikes(spikes: Array) -> None:
    words = packing.join_spikes(spikes)

    assert np.unpackbits(words.view(np.uint8)).sum() == spikes.sum()


@pytest.mark.parametrize("code", [-9, 8])
def test_code_of_more_than_four_bits_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=rf"4-bit codes are -8..7, got .*{code}"):
        packing.join_nibbles(np.array([0, code], dtype=np.int8))


@given(st.integers(1, 8), st.data())
def test_streams_split_into_the_codes_that_were_joined(bits: int, data: st.DataObject) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=40))
    codes = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 2**bits - 1)))

    packed = packing.join_bits(codes, bits)

    assert packed.shape == (*shape[:-1], -(-shape[-1] * bits // 8))
    np.testing.assert_array_equal(packing.split_bits(packed, shape[-1], bits), codes)


def test_codes_of_three_bits_lie_one_behind_the_other_lowest_first() -> None:
    packed = packing.join_bits(np.array([1, 2, 7], np.uint8), 3)

    assert packed.tolist() == [0b11_010_001, 0b1]


def test_code_of_more_bits_than_the_stream_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3-bit codes are 0\.\.7, got 8"):
        packing.join_bits(np.array([0, 8], dtype=np.uint8), 3)


def test_width_that_does_not_fit_the_count_is_refused() -> None:
    with pytest.raises(ValueError, match="5 elements need 3 packed columns, got shape"):
        packing.split_nibbles(np.zeros((2, 2), np.uint8), 5)
    with pytest.raises(ValueError, match="65 elements need 3 packed columns"):
        packing.split_spikes(np.zeros((2,), np.uint32), 65)


@given(arrays.arrays(np.uint8, SHAPES, elements=st.integers(0, 15)))
def test_places_survive_packing(places: U8) -> None:
    packed = packing.join_places(places)

    np.testing.assert_array_equal(packing.split_places(packed, places.shape[-1]), places)


def test_a_place_of_fifteen_is_not_minus_one() -> None:
    packed = packing.join_places(np.array([1, 15, 8], np.uint8))

    assert packed.tolist() == [0xF1, 0x08]
    assert packing.split_places(packed, 3).tolist() == [1, 15, 8]
