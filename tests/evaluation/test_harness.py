import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from evaluation.harness import LATENCY_TEXTS, Answered, Said, Subject, measure
from evaluation.scoring import report
from evaluation.suites import Suite, load_suite
from release.reports import Report
from tests.fakes.nouns import variant
from tests.fakes.suite import keyword_suite

LABELS = ["alpha", "beta", "gamma"]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return load_suite(keyword_suite(tmp_path, LABELS, test=360))


ODD = Subject(
    variant=variant(3),
    predict=lambda text: Said("delta", 0.9),
    predict_many=lambda texts, many: [Said("delta", 0.9)] * len(texts),
    memory_bytes=lambda: 1,
)
"""It answers with what is no label."""


def subject(version: int, *, blind: str = "", seconds: float = 0.0) -> Subject:
    """A subject that reads the label off the text, but for one that it cannot see."""

    def predict(text: str) -> Said:
        time.sleep(seconds)
        label = text.rsplit(" ", 1)[-1]
        return Said("alpha", 0.55) if label == blind else Said(label, 0.95)

    def predict_many(texts: Sequence[str], many: int) -> list[Said]:
        return [predict(text) for text in texts]

    return Subject(
        variant=variant(version),
        predict=predict,
        predict_many=predict_many,
        memory_bytes=lambda: 50_000_000,
    )


def test_a_report_says_how_good_how_fast_and_how_big(suite: Suite) -> None:
    (sample,) = measure([subject(1, blind="gamma", seconds=0.001)], suite)
    made = report(sample, suite)
    assert made.metrics["accuracy"].value == pytest.approx(2 / 3)
    assert made.metrics["accuracy"].n == 360
    assert made.metrics["latency_p50_ms"].value >= 1
    assert made.metrics["latency_p99_ms"].n == LATENCY_TEXTS
    assert made.metrics["memory_mb"].value == 50
    assert made.metrics["throughput_per_s"].value > 0
    assert made.slices["label=gamma"]["accuracy"].value == 0
    assert made.slices["label=beta"]["accuracy"].value == 1
    assert made.champion is None
    assert not made.differences


def test_a_challenger_is_compared_text_by_text(suite: Suite) -> None:
    champion, challenger = measure([subject(1, blind="gamma"), subject(2)], suite)
    made = report(challenger, suite, champion=champion)
    difference = made.differences["accuracy"]
    assert difference.value == pytest.approx(1 / 3)
    assert difference.low is not None and 0.27 < difference.low < 1 / 3
    assert made.champion is not None
    assert made.champion.variant == variant(1)


def test_an_answer_outside_the_suites_labels_is_a_wrong_one(suite: Suite) -> None:
    (sample,) = measure([ODD], suite)
    assert report(sample, suite).metrics["accuracy"].value == 0


def test_turns_are_interleaved_and_their_order_changes(suite: Suite) -> None:
    asked: list[int] = []

    def noting(version: int) -> Subject:
        inner = subject(version)

        def predict(text: str) -> Answered:
            asked.append(version)
            return inner.predict(text)

        return Subject(
            variant=inner.variant,
            predict=predict,
            predict_many=inner.predict_many,
            memory_bytes=inner.memory_bytes,
        )

    measure([noting(1), noting(2)], suite)
    turns = [asked[start] for start in range(0, 200, 25)]
    assert turns == [1, 2, 2, 1, 1, 2, 2, 1]


def test_progress_is_told_to_the_end(suite: Suite) -> None:
    heard: list[tuple[int, int]] = []
    measure([subject(1)], suite, told=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (360, 360)
    assert heard == sorted(heard)


def test_answers_are_counted_by_label_length_and_confidence(suite: Suite) -> None:
    champion, challenger = measure([subject(1, blind="gamma"), subject(2)], suite)
    made = report(challenger, suite, champion=champion)
    assert made.labels == ("alpha", "beta", "gamma")
    assert made.confusion == ((120, 0, 0, 0), (0, 120, 0, 0), (0, 0, 120, 0))
    assert made.champion is not None
    assert made.champion.confusion == ((120, 0, 0, 0), (0, 120, 0, 0), (120, 0, 0, 0))
    assert [(one.n, one.accuracy) for one in made.champion.calibration] == [(120, 0.0), (240, 1.0)]
    assert made.metrics["calibration_error"].value == pytest.approx(0.05)
    # 120 answers with 0.55 are all wrong, 240 with 0.95 all right.
    wanted = (120 * 0.55 + 240 * 0.05) / 360
    assert made.champion.metrics["calibration_error"].value == pytest.approx(wanted)
    gained = made.slice_differences["label=gamma"]["accuracy"]
    assert (gained.value, gained.low, gained.high) == (1, 1, 1)
    short = made.slices["characters=1-32"]
    assert short["accuracy"].n == 360
    assert short["latency_p99_ms"].n == LATENCY_TEXTS
    assert Report.from_json(json.loads(json.dumps(made.as_json()))) == made


def test_an_answer_that_is_no_label_has_a_column_of_its_own(suite: Suite) -> None:
    (sample,) = measure([ODD], suite)
    assert report(sample, suite).confusion == ((0, 0, 0, 120),) * 3


def test_a_small_suite_has_a_throughput_too(tmp_path: Path) -> None:
    small = load_suite(keyword_suite(tmp_path / "small", LABELS, test=60))
    (sample,) = measure([subject(1)], small)
    made = report(sample, small)
    assert made.metrics["throughput_per_s"].value > 0
    assert made.metrics["accuracy"].n == 60
