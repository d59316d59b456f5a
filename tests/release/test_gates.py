import pytest

from release.errors import Invalid
from release.gates import Decision, Gate, judge
from release.reports import HEADLINES, Measurement, Profile, Report
from release.variants import Task
from tests.fakes.nouns import a_report, variant

FLOOR = Gate(metric="accuracy", at_least=0.5)
BETTER = Gate(metric="accuracy", max_regression=-0.01)
NO_WORSE = Gate(metric="accuracy", max_regression=0.02)


@pytest.mark.parametrize(
    ("gate", "report", "decision", "said"),
    [
        (
            FLOOR,
            a_report(0.55, low=0.52, high=0.58),
            Decision.PASS,
            "0.55 ≥ 0.5 (n=900, lower bound 0.52)",
        ),
        (FLOOR, a_report(0.52, low=0.49, high=0.55), Decision.INCONCLUSIVE, "not proven ≥ 0.5"),
        (
            FLOOR,
            a_report(0.45, low=0.42, high=0.48),
            Decision.FAIL,
            "0.45 < 0.5 (n=900, upper bound 0.48)",
        ),
        (
            BETTER,
            a_report(0.6, low=0.5, high=0.7, difference=(0.05, 0.02, 0.08)),
            Decision.PASS,
            "change 0.05 ≥ 0.01 (n=900, lower bound 0.02)",
        ),
        (
            NO_WORSE,
            a_report(0.6, low=0.5, high=0.7, difference=(-0.01, -0.03, 0.01)),
            Decision.INCONCLUSIVE,
            "not proven ≥ -0.02 (n=900, lower bound -0.03)",
        ),
        (
            NO_WORSE,
            a_report(0.6, low=0.5, high=0.7, difference=(-0.08, -0.1, -0.05)),
            Decision.FAIL,
            "change -0.08 < -0.02 (n=900, upper bound -0.05)",
        ),
    ],
)
def test_a_gate_judges_bounds_and_not_points(
    gate: Gate, report: Report, decision: Decision, said: str
) -> None:
    finding = gate.judge(report)
    assert finding is not None
    assert finding.decision is decision
    assert said in finding.reason


def test_lower_is_better_turns_the_bound_around() -> None:
    slower = Measurement(value=2.0, n=300, low=1.0, high=3.0)
    report = Report(
        variant=variant(2),
        suite="s",
        confidence=0.95,
        metrics={"latency_p99_ms": Measurement(value=20.0, n=300, low=18.0, high=26.0)},
        champion=Profile(variant=variant(1), metrics={}),
        differences={"latency_p99_ms": slower},
    )
    decisions = [
        judge(report, [gate]).decision
        for gate in (
            Gate(metric="latency_p99_ms", at_most=30),
            Gate(metric="latency_p99_ms", at_most=22),
            Gate(metric="latency_p99_ms", at_most=17),
            Gate(metric="latency_p99_ms", max_regression=4),
            Gate(metric="latency_p99_ms", max_regression=2),
            Gate(metric="latency_p99_ms", max_regression=0.5),
        )
    ]
    good, maybe, bad = Decision.PASS, Decision.INCONCLUSIVE, Decision.FAIL
    assert decisions == [good, maybe, bad, good, maybe, bad]


def test_what_was_not_measured_never_passes() -> None:
    unmeasured = Gate(metric="memory_mb", at_most=1e9)
    verdict = judge(a_report(0.9, low=0.8, high=1.0), [FLOOR, unmeasured])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reasons == "memory_mb was not measured"


def test_no_gates_is_not_a_pass() -> None:
    assert judge(a_report(1.0, low=1.0, high=1.0), []).decision is Decision.INCONCLUSIVE


def test_the_worst_finding_decides_and_speaks_first() -> None:
    unmeasured = Gate(metric="memory_mb", at_most=1)
    verdict = judge(a_report(0.4, low=0.3, high=0.45), [unmeasured, FLOOR])
    assert verdict.decision is Decision.FAIL
    assert verdict.reasons.startswith("accuracy 0.4 <")


def test_a_first_release_is_not_asked_for_a_comparison() -> None:
    verdict = judge(a_report(0.9, low=0.8, high=1.0), [FLOOR, NO_WORSE])
    assert [finding.gate for finding in verdict.findings] == ["accuracy at least 0.5"]
    assert verdict.passed


def test_a_champion_without_a_measured_difference_never_passes() -> None:
    report = a_report(0.9, low=0.8, high=1.0, difference=(0, 0, 0))
    bare = Report(
        variant=report.variant,
        suite=report.suite,
        confidence=0.95,
        metrics=report.metrics,
        champion=Profile(variant=variant(1), metrics={}),
    )
    assert judge(bare, [NO_WORSE]).decision is Decision.INCONCLUSIVE


def test_a_gate_on_an_unknown_metric_is_refused() -> None:
    with pytest.raises(Invalid, match="which no suite measures"):
        Gate(metric="f1", at_least=0.9)


@pytest.mark.parametrize("demand", [{"at_least": 7}, {"at_most": -0.1}, {"max_regression": 1.5}])
def test_a_share_that_no_model_can_meet_is_refused(demand: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="which no model can meet|less than 0"):
        Gate(metric="accuracy", **demand)


def test_few_texts_prove_nothing() -> None:
    measured = Measurement(value=1.0, n=1, low=1.0, high=1.0)
    report = Report(variant=variant(2), suite="s", confidence=0.95, metrics={"accuracy": measured})
    verdict = judge(report, [FLOOR])
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reasons == "accuracy rests on 1 texts, of 30 at least"


@pytest.mark.parametrize(
    ("gate", "task", "known"),
    [
        (
            Gate(metric="accuracy", at_least=0.5),
            Task.FEATURE_EXTRACTION,
            "spearman, pearson, latency",
        ),
        (
            Gate(metric="entity_f1", at_least=0.5),
            Task.TEXT_CLASSIFICATION,
            "accuracy, macro_f1, late",
        ),
    ],
)
def test_a_gate_on_what_a_task_does_not_measure_is_refused(
    gate: Gate, task: Task, known: str
) -> None:
    with pytest.raises(Invalid, match=rf"which no suite of {task} measures.*measured are {known}"):
        gate.check_task(task)


def test_what_every_task_has_may_be_gated_in_each() -> None:
    for task in Task:
        Gate(metric="latency_p99_ms", at_most=9).check_task(task)
        Gate(metric=HEADLINES[task], at_least=0.5).check_task(task)


def test_a_correlation_beyond_reach_is_called_one() -> None:
    with pytest.raises(Invalid, match="'spearman' demands 7.*it is a correlation, within 0..1"):
        Gate(metric="spearman", at_least=7)


def test_few_pairs_are_called_pairs() -> None:
    few = {"spearman": Measurement(value=0.9, n=12, low=0.8, high=0.95)}
    report = Report(variant=variant(2), suite="s", confidence=0.95, metrics=few)
    found = Gate(metric="spearman", at_least=0.5).judge(report)
    assert found is not None and found.reason == "spearman rests on 12 pairs, of 30 at least"
