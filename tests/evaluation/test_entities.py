"""What entities that a model names are worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from evaluation.bootstrap import Resamples, sums_of
from evaluation.entities import score_entities
from evaluation.examples import Span
from evaluation.harness import LATENCY_TEXTS, Embedded, Marks, measure
from evaluation.scoring import report
from evaluation.suites import Suite, load_suite
from evaluation.wording import measured
from release.errors import Invalid
from release.gates import Decision, Gate
from release.reports import Report
from tests.fakes.subjects import finder, plain
from tests.fakes.suite import entity_suite, write_lines


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(entity_suite(tmp_path_factory.mktemp("suite"), test=360))


def test_a_report_says_what_is_found_and_what_is_missed(suite: Suite) -> None:
    (sample,) = measure([finder(1, blind="LOC", seconds=0.0001)], suite)
    made = report(sample, suite)
    f1, precision, recall = (made.metrics[f"entity_{one}"] for one in ("f1", "precision", "recall"))
    assert (f1.value, precision.value, recall.value) == pytest.approx((2 / 3, 1, 1 / 2))
    # A third of the texts names nobody, and nobody is found there: they say nothing.
    assert (f1.n, precision.n, recall.n) == (240, 240, 240)
    assert f1.low is not None and 0.55 < f1.low < 2 / 3
    # 240 of 240 do not prove that it is never wrong.
    assert precision.low is not None and 0.98 < precision.low < 1
    assert measured(made).endswith("@1/torch-fp32 was measured on 240 texts: entity F1 0.667")
    assert "accuracy" not in made.metrics
    assert not made.confusion and not made.calibration
    assert made.metrics["latency_p99_ms"].n == LATENCY_TEXTS
    assert (made.task, made.headline) == ("token-classification", "entity_f1")
    assert Report.from_json(json.loads(json.dumps(made.as_json()))) == made


def test_each_label_and_length_is_a_slice(suite: Suite) -> None:
    (sample,) = measure([finder(1, blind="LOC")], suite)
    slices = report(sample, suite).slices
    assert list(slices) == ["label=PER", "label=LOC", "characters=1-32"]
    assert slices["label=PER"]["entity_f1"].value == 1
    assert slices["label=LOC"]["entity_recall"].value == 0
    # Of nothing that was named, nobody knows how much is right.
    assert "entity_precision" not in slices["label=LOC"]
    assert slices["characters=1-32"]["entity_f1"].value == pytest.approx(2 / 3)
    assert slices["characters=1-32"]["latency_p50_ms"].n == LATENCY_TEXTS


def test_a_challenger_is_compared_text_by_text(suite: Suite) -> None:
    champion, challenger = measure([finder(1, misses=0.3), finder(2, misses=0.2)], suite)
    made = report(challenger, suite, champion=champion)
    gained = made.differences["entity_f1"]
    assert made.champion is not None and gained.low is not None and gained.high is not None
    before = made.champion.metrics["entity_f1"]
    assert gained.value == pytest.approx(made.metrics["entity_f1"].value - before.value)
    assert gained.low < gained.value < gained.high
    assert "entity_recall" in made.slice_differences["label=PER"]
    proven = Gate(metric="entity_f1", max_regression=0.02).judge(made)
    assert proven is not None and proven.decision is Decision.PASS
    worse = report(champion, suite, champion=challenger)
    unproven = Gate(metric="entity_f1", max_regression=0.0).judge(worse)
    assert unproven is not None and unproven.decision is not Decision.PASS


def test_resampled_counts_are_what_the_library_says_of_the_resample(suite: Suite) -> None:
    (sample,) = measure([finder(3, misses=0.3)], suite)
    answers = [one for one in sample.answers if isinstance(one, Marks)]
    draws = score_entities(answers, suite).statistics["entity_f1"].draws
    marked = suite.marks("test")
    for row, drawn in zip(Resamples.draw(360).indices[:20], draws[:20], strict=True):
        both = [
            (span in answers[text].entities, span in marked[text])
            for text in row
            for span in answers[text].entities | marked[text]
        ]
        said, true = zip(*both, strict=True)
        assert drawn == pytest.approx(f1_score(true, said))


def test_sums_do_not_depend_on_how_many_are_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    counts = generator.integers(0, 5, (70, 3)).astype(np.float64)
    indices = generator.integers(0, 70, (101, 70))
    wanted = counts[indices].sum(axis=1)
    assert (sums_of(counts, indices) == wanted).all()
    monkeypatch.setattr("evaluation.bootstrap.AT_ONCE", 1_000)
    assert (sums_of(counts, indices) == wanted).all()


def test_a_label_that_the_suite_does_not_know_is_a_wrong_one(suite: Suite) -> None:
    odd = plain(1, lambda text: Marks(frozenset({Span(0, 4, "ORG")})))
    (sample,) = measure([odd], suite)
    made = report(sample, suite)
    assert made.metrics["entity_precision"].value == 0
    assert made.metrics["entity_precision"].n == 360
    assert "label=ORG" not in made.slices


def test_a_suite_that_marks_hardly_anything_proves_nothing(tmp_path: Path) -> None:
    def rows(split: str) -> list[dict[str, Any]]:
        one: dict[str, Any] = {
            "text": f"{split} Anna",
            "entities": [{"start": 5, "end": 9, "label": "PER"}],
        }
        return [one] * 7 + [{"text": f"{split} {n}", "entities": []} for n in range(200)]

    splits = {"calibration": rows("cali"), "test": rows("test")}
    rare = load_suite(write_lines(tmp_path / "s", "token-classification", ["PER"], splits))
    (sample,) = measure([finder(1)], rare)
    found = Gate(metric="entity_f1", at_least=0.5).judge(report(sample, rare))
    assert found is not None and found.decision is Decision.INCONCLUSIVE
    assert found.reason == "entity_f1 rests on 7 texts, of 30 at least"


def test_resamples_without_any_entity_say_nothing(tmp_path: Path) -> None:
    one: dict[str, Any] = {"text": "Anna", "entities": [{"start": 0, "end": 4, "label": "PER"}]}
    others: list[dict[str, Any]] = [{"text": f"test {n}", "entities": []} for n in range(58)]
    splits = {"calibration": [{"text": "c", "entities": []}], "test": [one, one, *others]}
    rare = load_suite(write_lines(tmp_path / "s", "token-classification", ["PER"], splits))
    champion, challenger = measure([finder(1, misses=1), finder(2)], rare)
    made = report(challenger, rare, champion=champion)
    f1, gained = made.metrics["entity_f1"], made.differences["entity_f1"]
    # Wilson's lower end for 2 of 2: one resample in eight holds neither.
    assert f1.low == pytest.approx(0.342, abs=1e-3)
    assert (gained.low, gained.high) == (1, 1)


def test_answers_of_another_task_are_refused(suite: Suite) -> None:
    (sample,) = measure([plain(1, lambda text: Embedded(np.ones(2)))], suite)
    with pytest.raises(Invalid, match="answers with vectors, but its suite asks for entities"):
        report(sample, suite)
