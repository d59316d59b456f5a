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
    task: str
    labels: tuple[str, ...]
    longest_input: int
    """Most tokens of one text, special tokens included; a longer text is refused, never cut."""

    files: Mapping[str, str]
    """Relative path to `sha256:…` of every file, the tokenizer's among them."""

    parity: Mapping[str, float] = field(default_factory=dict)
    """How far the variant is from its parent on calibration texts: `max_logit_error`,
    `argmax_agreement` (0..1), `texts`; where they are packed, also `packing_error`."""

    device: str = "cpu"

    rows: tuple[int, ...] = ()
    """Sizes in tokens, smallest first, of the rows into which its texts are packed; empty where
    each text has a row of its own."""

    @property
    def digest(self) -> str:
        """Content digest of the variant."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data; without rows there is no word of them, as before there were any."""
        plain = asdict(self)
        if not self.rows:
            del plain["rows"]
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        rows = tuple(map(int, data.get("rows", ())))
        return cls(**{**data, "labels": tuple(data["labels"]), "rows": rows})


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
