"""What was measured about a variant, and about the difference of two. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from release.digests import digest_of
from release.variants import Task, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A quantity that the evaluation knows how to measure."""

    unit: str
    """Empty for a share or a correlation."""

    better: Literal["higher", "lower"]
    gated: bool = True
    """Whether a gate may rest on it: not on an estimate whose error nobody knows."""

    tasks: Sequence[Task] = tuple(Task)
    """Those whose suites measure it."""

    correlation: bool = False
    """Within -1..1, and written so; a share, within 0..1, is written as percents."""

    counted: str = "texts"
    """What its sample consists of."""


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(unit="", better="higher", tasks=(Task.TEXT_CLASSIFICATION,)),
    "macro_f1": Metric(unit="", better="higher", tasks=(Task.TEXT_CLASSIFICATION,)),
    "entity_f1": Metric(unit="", better="higher", tasks=(Task.TOKEN_CLASSIFICATION,)),
    "entity_precision": Metric(unit="", better="higher", tasks=(Task.TOKEN_CLASSIFICATION,)),
    "entity_recall": Metric(unit="", better="higher", tasks=(Task.TOKEN_CLASSIFICATION,)),
    "spearman": Metric(
        unit="",
        better="higher",
        tasks=(Task.FEATURE_EXTRACTION,),
        correlation=True,
        counted="pairs",
    ),
    "pearson": Metric(
        unit="",
        better="higher",
        tasks=(Task.FEATURE_EXTRACTION,),
        correlation=True,
        counted="pairs",
    ),
    "latency_p50_ms": Metric(unit="ms", better="lower"),
    "latency_p99_ms": Metric(unit="ms", better="lower"),
    "throughput_per_s": Metric(unit="texts/s", better="higher"),
    "calibration_error": Metric(
        unit="", better="lower", gated=False, tasks=(Task.TEXT_CLASSIFICATION,)
    ),
    "size_mb": Metric(unit="MB", better="lower"),
    "memory_mb": Metric(unit="MB", better="lower"),
}
"""Every metric that the evaluation measures."""

HEADLINES: Mapping[Task, str] = {
    Task.TEXT_CLASSIFICATION: "accuracy",
    Task.TOKEN_CLASSIFICATION: "entity_f1",
    Task.FEATURE_EXTRACTION: "spearman",
}
"""Task to the metric that stands for how good a model is, in every slice too."""


def measured_for(task: Task) -> list[str]:
    """Name the metrics that a task's suites measure, in their order."""
    return [name for name, facts in METRICS.items() if task in facts.tasks]


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
class Bin:
    """Answers given with about the same confidence."""

    n: int
    confidence: float
    """Mean probability that the answers' labels were given, 0..1."""

    accuracy: float
    """Part of them that was right, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What was measured of one variant. What could not be measured is absent, never 0."""

    variant: Variant
    metrics: Measured
    slices: Mapping[str, Measured] = field(default_factory=dict)
    """Slice name (such as `label=torch` or `characters=33-64`) to its metrics."""

    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of texts: a row a true label, a column an answered one, both in the order of the
    report's labels, and a last column for answers that are none of them."""

    calibration: tuple[Bin, ...] = ()
    """Bins of rising confidence; empty ones are left out."""

    pairs: tuple[tuple[float, float], ...] = ()
    """How like two texts are, as labelled and as the cosine of their vectors says; of pairs spread
    evenly over the suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Profile):
    """Measurements of one variant on one suite, and of the champion beside it."""

    suite: str
    """Digest of the suite."""

    confidence: float
    """Coverage of every interval, such as 0.95."""

    labels: tuple[str, ...] = ()
    task: Task = Task.TEXT_CLASSIFICATION
    champion: Profile | None = None
    """What it was measured beside, in the same turns."""

    differences: Measured = field(default_factory=dict)
    """Metric to challenger minus champion, paired text by text."""

    slice_differences: Mapping[str, Measured] = field(default_factory=dict)
    """The same for every slice."""

    @property
    def digest(self) -> str:
        """Content digest; an approval is bound to it."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data; of what other tasks have no word, as before there were any."""
        plain = asdict(self)
        if self.task == Task.TEXT_CLASSIFICATION:
            del plain["task"]
        for one in filter(None, (plain, plain["champion"])):
            if not one["pairs"]:
                del one["pairs"]
        return plain

    @property
    def headline(self) -> str:
        """Name of the metric that stands for how good it is."""
        return HEADLINES[self.task]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        champion = data["champion"]
        return cls(
            **_profile(data),
            suite=data["suite"],
            confidence=data["confidence"],
            labels=tuple(data.get("labels", ())),
            task=Task(data.get("task", Task.TEXT_CLASSIFICATION)),
            champion=Profile(**_profile(champion)) if champion else None,
            differences=_measured(data["differences"]),
            slice_differences=_slices(data.get("slice_differences", {})),
        )


def _profile(data: Mapping[str, Any]) -> dict[str, Any]:
    """Read a profile; the first reports named of a champion its variant, and knew less of all."""
    return {
        "variant": Variant.from_json(data.get("variant", data)),
        "metrics": _measured(data.get("metrics", {})),
        "slices": _slices(data.get("slices", {})),
        "confusion": tuple(tuple(row) for row in data.get("confusion", ())),
        "calibration": tuple(Bin(**one) for one in data.get("calibration", ())),
        "pairs": tuple((one[0], one[1]) for one in data.get("pairs", ())),
    }


def _slices(data: Mapping[str, Any]) -> Mapping[str, Measured]:
    return {name: _measured(part) for name, part in data.items()}


def _measured(data: Mapping[str, Any]) -> Measured:
    return {name: Measurement.from_json(value) for name, value in data.items()}
