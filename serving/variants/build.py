"""Build a variant by its recipe, or find it in the store."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from infra.settings import silence_telemetry
from release.digests import digest_of
from release.errors import Invalid
from release.variants import Candidate, Engine, Manifest, Precision, Recipe, Variant
from serving.replica.verify import sum_of
from serving.variants.facts import Facts, read_facts
from serving.variants.intake import check_files, parent_digest
from serving.variants.store import Store

BUILDER = 1
"""Rises whenever the same recipe would give something else."""

REVISIONS = {"openvino-int8": 2, "torch-fp32": 1, "torch-bf16": 1, "torch-int8": 2}
"""The same for one recipe alone, by its label; the others keep what they have built."""

_TORCH = ("torch", "transformers", "tokenizers")
TOOLS = {
    "torch-fp32": _TORCH,
    "torch-bf16": (*_TORCH, "safetensors"),
    "torch-int8": (*_TORCH, "safetensors"),
    "onnx-int8": (*_TORCH, "onnx", "onnxscript", "onnxruntime"),
    "openvino-int8": (*_TORCH, "openvino", "nncf"),
}
"""What each recipe, by its label, is built with: checked beforehand, and part of its digest."""

KEPT = ("config.json", "tokenizer.json")
"""Files that every variant carries beside its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A variant, and how it came about."""

    variant: Variant
    manifest: Manifest
    cached: bool
    seconds: float


def check_tools(recipe: Recipe) -> None:
    """Refuse a recipe whose tools are not installed, before anything is begun.

    Raises:
        Invalid: naming them.
    """
    missing = [tool for tool in TOOLS[recipe.label] if not _installed(tool)]
    if missing:
        raise Invalid(
            f"{recipe.label} cannot be built here: {', '.join(missing)} is not installed.",
            f"pip install {' '.join(missing)}, or take it out of [variants]",
        )


def _installed(tool: str) -> bool:
    try:
        return bool(version(tool))
    except PackageNotFoundError:
        return False


def recipe_digest(
    recipe: Recipe, candidate: Candidate, parent: str, calibration: Sequence[str]
) -> str:
    """Name what a recipe would give, before it is built: the store is asked for this.

    Args:
        recipe: how.
        candidate: of what.
        parent: digest of the candidate's files.
        calibration: texts for quantization and for the parity numbers.
    """
    return digest_of(
        {
            "builder": BUILDER,
            **({"revision": REVISIONS[recipe.label]} if recipe.label in REVISIONS else {}),
            "candidate": candidate.ref,
            "parent": parent,
            "recipe": recipe.label,
            "calibration": digest_of(list(calibration)),
            "tools": {tool: version(tool) for tool in TOOLS[recipe.label]},
        }
    )


def build(
    recipe: Recipe, candidate: Candidate, source: Path, calibration: Sequence[str], store: Store
) -> Built:
    """Build a variant of a candidate.

    Args:
        recipe: how.
        candidate: of what.
        source: folder of the candidate's files.
        calibration: texts for quantization and for the parity numbers.
        store: where it is kept, and looked for first.

    Raises:
        Unsafe: the candidate holds what may not be loaded, or lacks weights.
        Invalid: the candidate is not supported, or its answers cannot be relied on.
    """
    started = time.monotonic()
    parent = parent_digest(source)
    key = recipe_digest(recipe, candidate, parent, calibration)
    if found := store.find(key):
        manifest = store.manifest(found.digest)
        spent = time.monotonic() - started
        return Built(variant=found, manifest=manifest, cached=True, seconds=spent)
    facts = read_facts(source)
    from serving.variants.soundness import check_sound

    check_sound(source, calibration, facts)
    place = store.aside()
    try:
        rows = _make(recipe, source, place, calibration, facts)
        from serving.variants.parity import parity

        bare = Manifest(
            candidate=candidate.ref,
            parent=parent,
            recipe=recipe.label,
            recipe_digest=key,
            task=facts.task,
            labels=facts.labels,
            longest_input=facts.longest_input,
            thresholds=facts.thresholds,
            pooling=facts.pooling,
            normalize=facts.normalize,
            width=facts.width,
            rows=rows,
            files={
                str(path.relative_to(place)): sum_of(path)
                for path in sorted(place.rglob("*"))
                if path.is_file()
            },
        )
        measured = replace(bare, parity=parity(bare, source, place, calibration))
        variant = store.put(place, measured)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    spent = time.monotonic() - started
    return Built(variant=variant, manifest=measured, cached=False, seconds=spent)


def _make(
    recipe: Recipe, source: Path, place: Path, calibration: Sequence[str], facts: Facts
) -> tuple[int, ...]:
    """Write a variant's files; give the rows into which its texts are packed, if they are."""
    silence_telemetry()
    for name in KEPT:
        shutil.copyfile(source / name, place / name)
    match recipe.engine:
        case Engine.TORCH:
            from serving.variants.packing import torch_rows

            _make_weights(recipe.precision, source, place, facts)
            return torch_rows(source, calibration, facts.longest_input, facts.purpose)
        case Engine.ONNX:
            from serving.variants.export import export

            export(source, place, facts.longest_input, facts.purpose)
            return ()
        case Engine.OPENVINO:
            from serving.variants.quantize import quantize

            return quantize(source, place, calibration, facts.longest_input, facts.purpose)


def _make_weights(precision: Precision, source: Path, place: Path, facts: Facts) -> None:
    match precision:
        case Precision.FP32:
            for file in check_files(source):
                if file.suffix == ".safetensors":
                    shutil.copyfile(source / file, place / file)
        case Precision.BF16:
            from serving.variants.weights import halve

            halve(source, place)
        case Precision.INT8:
            from serving.variants.weights import quantize_linears

            quantize_linears(source, place, facts.purpose)
