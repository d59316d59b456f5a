"""What was measured about a variant, and about the difference of two. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from release.digests import digest_of
from release.variants import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A quantity that the evaluation knows how to measure."""

    unit: str
    better: Literal["higher", "lower"]


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(unit="", better="higher"),
    "macro_f1": Metric(unit="", better="higher"),
    "latency_p50_ms": Metric(unit="ms", better="lower"),
    "latency_p99_ms": Metric(unit="ms", better="lower"),
    "throughput_per_s": Metric(unit="texts/s", better="higher"),
    "size_mb": Metric(unit="MB", better="lower"),
    "memory_mb": Metric(unit="MB", better="lower"),
}
"""Every metric that a gate may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A value with the sample it rests on and, where known, its two-sided interval."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gave."""
        return cls(**data)


Measured = Mapping[str, Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Measurements of one variant on one suite. What could not be measured is absent, never 0."""

    variant: Variant
    suite: str
    """Digest of the suite."""

    confidence: float
    """Coverage of every interval, such as 0.95."""

    metrics: Measured
    slices: Mapping[str, Measured] = field(default_factory=dict)
    """Slice name (such as `label=torch`) to its metrics."""

    champion: Variant | None = None
    """What it was measured beside."""

    differences: Measured = field(default_factory=dict)
    """Metric to challenger minus champion, paired text by text."""

    @property
    def digest(self) -> str:
        """Content digest; an approval is bound to it."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        return cls(
            variant=Variant.from_json(data["variant"]),
            suite=data["suite"],
            confidence=data["confidence"],
            metrics=_measured(data["metrics"]),
            slices={name: _measured(part) for name, part in data["slices"].items()},
            champion=Variant.from_json(data["champion"]) if data["champion"] else None,
            differences=_measured(data["differences"]),
        )


def _measured(data: Mapping[str, Any]) -> Measured:
    return {name: Measurement.from_json(value) for name, value in data.items()}
