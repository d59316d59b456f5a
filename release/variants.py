"""What is asked to be released, how it is built, and what came out. Pure."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from release.digests import digest_of
from release.errors import Invalid

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A registered model version that asks to be released."""

    model: str
    """Registered name, also the name of its endpoint: lower case, digits, `-` and `_`."""

    version: int

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.model):
            raise Invalid(
                f"A model name must be 1 to 63 of a-z, 0-9, '-', '_', not {self.model!r}.",
                "register it under such a name",
            )

    @property
    def ref(self) -> str:
        """Reference such as `docs-router@2`."""
        return f"{self.model}@{self.version}"


class Task(StrEnum):
    """What a model does with a text, named as transformers does."""

    TEXT_CLASSIFICATION = "text-classification"
    TOKEN_CLASSIFICATION = "token-classification"  # noqa: S105, no secret
    FEATURE_EXTRACTION = "feature-extraction"


class Pooling(StrEnum):
    """How the vectors of a text's tokens become one."""

    MEAN = "mean"
    CLS = "cls"
    """That of its first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What is to be made of an encoder's output."""

    task: Task = Task.TEXT_CLASSIFICATION
    pooling: Pooling = Pooling.MEAN
    """Of feature extraction alone, as is `normalize`."""

    normalize: bool = True
    """Whether vectors are given a length of one."""


class Engine(StrEnum):
    """What runs the weights."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """How the weights are stored, and multiplied."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a variant is built."""

    engine: Engine
    precision: Precision

    @property
    def label(self) -> str:
        """Short name such as `openvino-int8`. Only a label: digests identify."""
        return f"{self.engine}-{self.precision}"

    @classmethod
    def parse(cls, label: str) -> Self:
        """Read a label such as `openvino-int8`.

        Raises:
            Invalid: no such recipe exists.
        """
        for recipe in RECIPES:
            if recipe.label == label:
                return cls(engine=recipe.engine, precision=recipe.precision)
        known = ", ".join(recipe.label for recipe in RECIPES)
        raise Invalid(f"No variant is called {label!r}.", f"known are {known}")


RECIPES = (
    Recipe(engine=Engine.TORCH, precision=Precision.FP32),
    Recipe(engine=Engine.TORCH, precision=Precision.BF16),
    Recipe(engine=Engine.TORCH, precision=Precision.INT8),
    Recipe(engine=Engine.ONNX, precision=Precision.INT8),
    Recipe(engine=Engine.OPENVINO, precision=Precision.INT8),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a replica must find true before it serves a variant. Its digest is approved."""

    candidate: str
    """Reference of the parent, such as `docs-router@2`."""

    parent: str
    """Digest of the parent's files as the registry gave them."""

    recipe: str
    """Label of the recipe."""

    recipe_digest: str
    task: Task
    labels: tuple[str, ...]
    """In the order of the logits; none where the task has none."""

    longest_input: int
    """Most tokens of one text, special tokens included; a longer text is refused, never cut."""

    files: Mapping[str, str]
    """Relative path to `sha256:…` of every file, the tokenizer's among them."""

    parity: Mapping[str, float] = field(default_factory=dict)
    """How far the variant is from its parent on calibration texts: `max_logit_error` and
    `argmax_agreement` (0..1), or of vectors `max_vector_error` and `min_cosine`; `texts`; where
    these are packed, also `packing_error`."""

    device: str = "cpu"
    """What it needs to run on."""

    rows: tuple[int, ...] = ()
    """Sizes in tokens, smallest first, of the rows into which its texts are packed; empty where
    each text has a row of its own."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Label to the probability, 0..1, that it needs before it is given. Where it has less, the most
    probable of the labels that have what they need is; one label at least needs nothing."""

    pooling: Pooling = Pooling.MEAN
    normalize: bool = True
    width: int = 0
    """Numbers in a vector; 0 where the task makes none."""

    @property
    def purpose(self) -> Purpose:
        """What is to be made of its encoder's output."""
        return Purpose(task=self.task, pooling=self.pooling, normalize=self.normalize)

    @property
    def digest(self) -> str:
        """Content digest of the variant."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data.

        There is no word of what came later and is as it was before it came, so that digests stay.
        """
        return {name: one for name, one in asdict(self).items() if one != _LATER.get(name, _NEVER)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        typed = {
            "task": Task(data["task"]),
            "labels": tuple(data["labels"]),
            "rows": tuple(map(int, data.get("rows", ()))),
            "pooling": Pooling(data.get("pooling", Pooling.MEAN)),
        }
        return cls(**{**data, **typed})


_NEVER = object()
_LATER: Mapping[str, object] = {
    "rows": (),
    "thresholds": {},
    "pooling": Pooling.MEAN,
    "normalize": True,
    "width": 0,
}
"""Fields of a manifest that its first kind had not, and what they are where nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One servable artifact of a candidate, as it lies in the store."""

    model: str
    version: int
    recipe: str
    """Label of the recipe."""

    digest: str
    """Content digest of its manifest."""

    size_bytes: int = 0

    @property
    def ref(self) -> str:
        """Reference for people, such as `docs-router@2/openvino-int8`."""
        return f"{self.model}@{self.version}/{self.recipe}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave."""
        return cls(**data)
