"""Jobs of the kind `import`: a network file becomes a model with one variant."""

import time
from functools import partial

import anyio
import anyio.to_thread

from services.compressor import manifests
from services.compressor.importers import sandbox
from services.compressor.importers.sandbox import Converted
from shared.bus.port import Bus
from shared.chassis.handler import Outcome, Progress
from shared.contracts.v1.jobs import BlobRef, ImportBody
from shared.contracts.v1.models import ModelManifest, PortSignature, Variant
from shared.network import artifact, rewrites, shapes, streaming
from shared.network.graph import Network
from shared.tensors.layouts import TensorType

DENSE, PLAIN = "dense", "gemm_f32"
IMPORTED = "imported"  # the name of a variant whose file holds products other than plain ones
_PROBES = (2, 3)  # batches; a size that follows them is open


async def run(bus: Bus, body: ImportBody, progress: Progress) -> Outcome:
    """Read the file in the sandbox, store artifact and manifest; all of it or nothing.

    Raises:
        BlobMissing, TooLarge, InvalidNetwork, UnsupportedOperator: about the file.
        ModelExists: the name belongs to another network.
    """
    await progress(0.0, "reading the file")
    data = await bus.get_blob(body.source)
    await progress(0.1, f"converting {len(data)} bytes")
    converted = await sandbox.convert(
        data, body.format, dt=body.dt, steps=body.steps, rule=body.rule or "exact"
    )
    network = await anyio.to_thread.run_sync(partial(artifact.unpack, converted.artifact))
    await progress(0.8, "storing the model")
    stored = await bus.put_blob(converted.artifact, keep=True)
    try:
        manifest = await manifests.create(bus, _manifest(body, network, stored, converted))
    except BaseException:
        with anyio.CancelScope(shield=True):
            await manifests.discard(bus, stored)
        raise
    return Outcome(report=_report(manifest, network, converted))


def _manifest(
    body: ImportBody, network: Network, stored: BlobRef, converted: Converted
) -> ModelManifest:
    inputs, outputs = signature(network)
    plain = all(step.operator == PLAIN for step in rewrites.products(network).values())
    name = DENSE if plain else IMPORTED
    variant = Variant(name=name, artifact=stored, weight_bytes=network.weight_bytes, method=name)
    return ModelManifest(
        model=body.model,
        inputs=inputs,
        outputs=outputs,
        nan_policy=body.nan_policy,
        variants=(variant,),
        default=name,
        created_at=time.time(),
        coverage=dict(converted.operators),
    )


def signature(
    network: Network,
) -> tuple[tuple[PortSignature, ...], tuple[PortSignature, ...]]:
    """Inputs and outputs as clients see them, -1 where the batch is."""
    small, large = (shapes.infer(network, batch) for batch in _PROBES)
    spikes = {*streaming.spikes(network), *streaming.trains(network)}

    def port(name: str, small: TensorType, large: TensorType) -> PortSignature:
        pairs = zip(small.shape, large.shape, strict=True)
        shape = tuple(-1 if a is None or a != b else a for a, b in pairs)
        spiking = name in spikes or None
        return PortSignature(name=name, dtype=small.dtype, shape=shape, spikes=spiking)

    return (
        tuple(port(name, kind, kind) for name, kind in network.inputs.items()),
        tuple(port(name, small[name], large[name]) for name in network.outputs),
    )


def _report(manifest: ModelManifest, network: Network, converted: Converted) -> dict[str, object]:
    first = manifest.variants[0]
    return {
        "model": manifest.model,
        "variant": first.name,
        "artifact": first.artifact.sha256,
        "weight_bytes": first.weight_bytes,
        "steps": len(network.steps),
        "coverage": dict(converted.coverage),
    }
