"""What a compression leaves: a variant for the manifest, and a report of how it came to be."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pydantic import BaseModel

from services.compressor.measure import Measured
from services.compressor.pipeline import LayerChange
from shared.contracts.v1.jobs import BlobRef, CompressBody
from shared.contracts.v1.models import ModelManifest, Variant, Verdict
from shared.contracts.v1.recipes import Recipe
from shared.network import rewrites, shapes
from shared.network.graph import Network


def variant_name(body: CompressBody) -> str:
    """What `model_version` will name: int8, csr90, csr97.5, pruned90, pruned90-f16.

    A recipe is named by its hash, such as recipe-1a2b3c4d, unless the body names the variant.
    """
    if body.variant is not None:
        return body.variant
    if body.recipe is not None:
        return recipe_name(body.recipe)
    match body.method:
        case "int8":
            return "int8"
        case "prune_csr":
            return f"csr{100 * body.sparsity:.4g}"
    values = f"-{body.values}" if body.values not in (None, "f32") else ""
    return f"pruned{100 * body.sparsity:.4g}{values}"


def recipe_name(recipe: Recipe) -> str:
    """A name that only this recipe has."""
    return f"recipe-{hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:8]}"


def variant(
    body: CompressBody, stored: BlobRef, network: Network, after: Measured, judged: Verdict
) -> Variant:
    """What joins the manifest when it is accepted."""
    stages = [stage.stage for stage in body.recipe.stages] if body.recipe else []
    return Variant(
        name=variant_name(body),
        artifact=stored,
        weight_bytes=network.weight_bytes,
        method=", ".join(stages) or body.method or "recipe",
        latencies=(after.latency,),
        verdict=judged,
    )


def changes(before: Network, after: Network, notes: Mapping[str, str]) -> tuple[LayerChange, ...]:
    """What became of each product of a network, by the name of its step."""
    old, new = rewrites.products(before), rewrites.products(after)
    return tuple(
        LayerChange(
            name,
            step.operator,
            before.weights[old[name].inputs["weight"]].nbytes if name in old else 0,
            after.weights[step.inputs["weight"]].nbytes,
            shapes.zeros(after.weights[step.inputs["weight"]]),
            notes.get(name, ""),
        )
        for name, step in new.items()
    )


def report(
    manifest: ModelManifest,
    made: Variant,
    judged: Verdict,
    layers: Sequence[LayerChange],
    recipe: Recipe | None,
) -> dict[str, object]:
    """What the job's record tells; `recipe` repeats the artifact when it is given again."""
    told: dict[str, object] = {
        "model": manifest.model,
        "variant": made.name,
        "accepted": judged.accepted,
        "default": manifest.default,
        "artifact": made.artifact.sha256 if judged.accepted else None,
        "verdict": plain(judged),
        "latencies": [plain(latency) for latency in made.latencies],
        "layers": [asdict(layer) | {"times": dict(layer.times)} for layer in layers],
    }
    return told | ({"recipe": plain(recipe)} if recipe is not None else {})


def plain(value: BaseModel) -> dict[str, object]:
    """A contract as JSON has it."""
    return value.model_dump(mode="json", exclude_none=True)
