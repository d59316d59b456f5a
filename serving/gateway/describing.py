"""What the Open Inference Protocol says of a server and its models, over REST and gRPC. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from release.variants import Variant
from serving.gateway.inputs import IDS, MASK, TEXT
from serving.gateway.outputs import (
    CLASSIFIES,
    EMBEDDING,
    EMBEDS,
    ENTITIES,
    LABEL,
    PROBABILITIES,
    SCORE,
    TAGS,
)
from serving.replica.messages import Status

INPUTS = (
    {"name": TEXT, "datatype": "BYTES", "shape": [-1]},
    {"name": IDS, "datatype": "INT64", "shape": [-1, -1]},
    {"name": MASK, "datatype": "INT64", "shape": [-1, -1]},
)
"""Either the first, or the second with or without the third."""

READY, UNAVAILABLE = "READY", "UNAVAILABLE"


def server_metadata(version: str) -> Mapping[str, Any]:
    """Describe the server."""
    return {"name": "slipway", "version": version, "extensions": ["binary_tensor_data"]}


def model_metadata(arm: Variant, versions: Sequence[int], status: Status | None) -> dict[str, Any]:
    """Describe a model.

    Args:
        arm: the variant that is described.
        versions: all that are served.
        status: what its replica says; None where none has told, and outputs are not known.
    """
    return {
        "name": arm.model,
        "versions": [str(version) for version in versions],
        "platform": arm.recipe,
        "inputs": INPUTS,
        "outputs": _outputs(status) if status else [],
        "parameters": {
            "task": status.task if status else "",
            "labels": status.labels if status else [],
            "longest_input": status.longest_input if status else 0,
        },
    }


def _outputs(status: Status) -> list[dict[str, Any]]:
    labels, width = len(status.labels) or -1, status.width or -1
    return {
        CLASSIFIES: [
            {"name": LABEL, "datatype": "BYTES", "shape": [-1]},
            {"name": SCORE, "datatype": "FP32", "shape": [-1]},
            {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, labels]},
        ],
        TAGS: [{"name": ENTITIES, "datatype": "BYTES", "shape": [-1]}],
        EMBEDS: [{"name": EMBEDDING, "datatype": "FP32", "shape": [-1, width]}],
    }.get(status.task, [])


def index_entry(name: str, arm: Variant, why_not: str) -> dict[str, str]:
    """Describe one version in a repository's index; `why_not` is empty where it can be asked."""
    return {
        "name": name,
        "version": str(arm.version),
        "state": UNAVAILABLE if why_not else READY,
        "reason": why_not,
    }
