"""Nouns for tests: a policy, variants, a release, each with sensible values."""

from dataclasses import replace

from release.policy import Policy
from release.releases import Approval, Chosen, Phase, Release
from release.reports import Measurement, Profile, Report
from release.variants import Candidate, Variant

POLICY = """
[suite]
path = "suite"
[variants]
build = ["torch-fp32", "openvino-int8"]
[[gates]]
metric = "accuracy"
at_least = 0.5
[[gates]]
metric = "accuracy"
max_regression = 0.02
[approval]
count = 1
roles = ["release-manager"]
valid_hours = 24
[plan]
steps = [
  {share = 5, soak_seconds = 10, least_requests = 20},
  {share = 25, soak_seconds = 10, least_requests = 20},
  {share = 100, soak_seconds = 10},
]
bake_seconds = 20
patience_seconds = 300
warm_seconds = 60
[live]
lease_seconds = 15
worse_by = 0.05
harm_budget = 0.05
"""

SHADOWED = POLICY.replace(
    "steps = [", "steps = [\n  {shadow = 50, soak_seconds = 10, least_requests = 100},"
)
"""The same, with a canary that sees copies before it answers anybody."""


def variant(version: int, recipe: str = "openvino-int8", model: str = "docs-router") -> Variant:
    return Variant(
        model=model,
        version=version,
        recipe=recipe,
        digest=f"sha256:{version:02d}{recipe}",
        size_bytes=1_000_000,
    )


def a_release(version: int = 2, *, stable: Variant | None = None, text: str = POLICY) -> Release:
    return Release(
        id=f"docs-router-{version}-abc",
        candidate=Candidate(model="docs-router", version=version),
        requester="rita",
        policy=Policy.parse(text),
        suite="suite",
        opened_at=0.0,
        stable=stable,
    )


def judged(release: Release) -> Release:
    chosen = Chosen(variant=variant(release.candidate.version), report="sha256:report")
    return replace(release, verdict="pass", chosen=chosen)


def an_approval(release: Release, *, who: str = "max", granted: bool = True) -> Approval:
    assert release.chosen is not None
    return Approval(
        release=release.id,
        who=who,
        role="release-manager",
        granted=granted,
        why="looks right",
        at=0.0,
        until=86_400.0,
        variant=release.chosen.variant.digest,
        report=release.chosen.report,
        policy=release.policy.digest,
    )


def a_report(
    value: float,
    *,
    low: float,
    high: float,
    difference: tuple[float, float, float] | None = None,
    version: int = 2,
    recipe: str = "openvino-int8",
) -> Report:
    measured = Measurement(value=value, n=900, low=low, high=high)
    differences = {}
    if difference is not None:
        point, bottom, top = difference
        differences["accuracy"] = Measurement(value=point, n=900, low=bottom, high=top)
    return Report(
        variant=variant(version, recipe),
        suite="sha256:suite",
        confidence=0.95,
        metrics={"accuracy": measured},
        champion=Profile(variant=variant(1), metrics={}) if difference is not None else None,
        differences=differences,
    )


CLOSED = [phase for phase in Phase if phase.closed]
