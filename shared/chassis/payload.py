"""Tensors of a job beside its frame: small ones inline, large ones as blobs by reference."""

from collections.abc import Mapping

from shared.bus.port import Bus
from shared.contracts.errors import InvalidTensor, TooLarge
from shared.contracts.v1.jobs import TensorRef
from shared.tensors import container
from shared.tensors.layouts import Tensor

INLINE_BYTES = 256 * 2**10  # of all inline tensors together; a record may have 512 KiB
FETCH_BYTES = 2 * 2**30  # of all referenced tensors of one job together


async def offload(
    bus: Bus, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, TensorRef]]:
    """Store what does not fit inline as blobs; returns the inline tensors and the references.

    The smallest tensors stay inline. Blobs are named by content: storing one again is free.
    """
    inline: dict[str, Tensor] = {}
    room = INLINE_BYTES
    for name, tensor in sorted(tensors.items(), key=lambda named: named[1].nbytes):
        if tensor.nbytes > room:
            break
        inline[name] = tensor
        room -= tensor.nbytes
    large = {name: tensor for name, tensor in tensors.items() if name not in inline}
    return inline, {name: await _store(bus, name, tensor) for name, tensor in large.items()}


async def fetch(bus: Bus, refs: Mapping[str, TensorRef]) -> dict[str, Tensor]:
    """Read referenced tensors.

    Raises:
        BlobMissing: a blob is not stored, or not what its digest says.
        InvalidTensor: a blob is no container with that one tensor, or of another type than said.
        TooLarge: the references claim more than a worker would hold.
    """
    claimed = sum(ref.blob.size for ref in refs.values())
    if claimed > FETCH_BYTES:
        raise TooLarge(f"tensors by reference take {claimed} bytes; {FETCH_BYTES} is the limit")
    return {name: _tensor(name, ref, await bus.get_blob(ref.blob)) for name, ref in refs.items()}


async def _store(bus: Bus, name: str, tensor: Tensor) -> TensorRef:
    blob = await bus.put_blob(container.pack({name: tensor}, {}))
    return TensorRef(blob=blob, layout=tensor.layout, dtype=tensor.dtype, shape=tensor.shape)


def _tensor(name: str, ref: TensorRef, data: bytes) -> Tensor:
    try:
        held = container.unpack(data)
    except ValueError as error:
        raise InvalidTensor(f"blob of tensor {name!r}: {error}") from None
    if len(held) != 1:
        raise InvalidTensor(f"blob of tensor {name!r} holds {len(held)} tensors, not one")
    tensor = next(iter(held.values()))
    if (tensor.layout, tensor.dtype, tensor.shape) != (ref.layout, ref.dtype, ref.shape):
        raise InvalidTensor(
            f"tensor {name!r} is said to be {ref.layout} {ref.dtype} {ref.shape}, "
            f"its blob holds {tensor.layout} {tensor.dtype} {tensor.shape}"
        )
    return tensor
