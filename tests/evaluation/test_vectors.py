"""What vectors are worth: their cosines against labelled similarities."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from evaluation.bootstrap import Resamples, correlation_of
from evaluation.harness import LATENCY_TEXTS, Embedded, measure
from evaluation.scoring import report
from evaluation.suites import Suite, load_suite
from evaluation.vectors import FEWEST_PAIRS, MOST_SHOWN, cosines_of
from evaluation.wording import measured
from release.gates import Decision, Gate
from release.reports import Report
from tests.fakes.subjects import compass, plain
from tests.fakes.suite import pair_suite


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(pair_suite(tmp_path_factory.mktemp("suite"), test=500))


def test_a_report_says_how_cosines_go_with_labels(suite: Suite) -> None:
    (sample,) = measure([compass(1, seconds=0.00001)], suite)
    made = report(sample, suite)
    # Degrees are in the order of their cosines, and not in a straight line with them.
    assert made.metrics["spearman"].value == pytest.approx(1, abs=1e-3)
    assert 0.9 < made.metrics["pearson"].value < 0.99
    assert made.metrics["spearman"].n == 500
    assert made.metrics["latency_p50_ms"].n == LATENCY_TEXTS
    assert len(sample.answers) == 1_000
    assert len(made.pairs) == MOST_SHOWN
    assert made.pairs[0] == (1.0, 1.0)
    assert all(abs(cosine - np.cos(np.pi / 2 * (1 - label))) < 0.01 for label, cosine in made.pairs)
    assert (made.task, made.headline, made.labels) == ("feature-extraction", "spearman", ())
    assert Report.from_json(json.loads(json.dumps(made.as_json()))) == made


def test_pairs_are_told_apart_by_the_longer_text_and_timed_text_by_text(suite: Suite) -> None:
    (sample,) = measure([compass(1, jitter=10)], suite)
    slices = report(sample, suite).slices
    lengths = [len(text) for text in suite.texts("test")]
    short = slices["characters=1-32"]
    assert short["spearman"].n == sum(n <= 32 for n in lengths[1::2])
    assert short["latency_p50_ms"].n == sum(n <= 32 for n in lengths[:LATENCY_TEXTS])
    assert short["spearman"].low is not None
    assert "500 pairs: Spearman correlation 0.878" in measured(report(sample, suite))


def test_a_slice_of_few_pairs_has_no_correlation(tmp_path: Path) -> None:
    few = load_suite(pair_suite(tmp_path / "few", test=14))
    (sample,) = measure([compass(1)], few)
    slices = report(sample, few).slices
    sizes = {name: int(mask.sum()) for name, mask in few.masks("test").items()}
    assert min(sizes.values()) < FEWEST_PAIRS
    assert all("spearman" not in slices.get(one, {}) for one, n in sizes.items() if n < 10)


def test_a_challenger_is_compared_pair_by_pair(suite: Suite) -> None:
    champion, challenger = measure([compass(1, jitter=30), compass(2, jitter=10)], suite)
    made = report(challenger, suite, champion=champion)
    gained = made.differences["spearman"]
    assert gained.low is not None and gained.low > 0
    better = Gate(metric="spearman", max_regression=-0.01).judge(made)
    assert better is not None and better.decision is Decision.PASS
    worse = Gate(metric="spearman", max_regression=0.01).judge(
        report(champion, suite, champion=challenger)
    )
    assert worse is not None and worse.decision is Decision.FAIL


@pytest.mark.parametrize("vector", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_has_no_direction_is_not_measured(suite: Suite, vector: list[float]) -> None:
    (sample,) = measure([plain(1, lambda text: Embedded(np.array(vector)))], suite)
    made = report(sample, suite)
    assert "spearman" not in made.metrics and "pearson" not in made.metrics
    assert made.pairs == ()
    assert measured(made).endswith("was measured, but its Spearman correlation is not known")
    found = Gate(metric="spearman", at_least=0.5).judge(made)
    assert found is not None and found.decision is Decision.INCONCLUSIVE


def test_one_vector_for_every_text_correlates_with_nothing(suite: Suite) -> None:
    (sample,) = measure([plain(1, lambda text: Embedded(np.array([3.0, 4.0])))], suite)
    assert "spearman" not in report(sample, suite).metrics


def test_resampled_correlations_are_what_the_library_says_of_the_resample() -> None:
    generator = np.random.default_rng(8)
    labels = generator.integers(0, 6, 300) / 5
    cosines = np.round(labels + generator.normal(0, 0.4, 300), 2)
    indices = Resamples.draw(300).indices[:50]
    for ranked, library in ((True, spearmanr), (False, pearsonr)):
        ours = correlation_of(cosines, labels, ranked=ranked)(indices)
        theirs = [library(cosines[row], labels[row]).statistic for row in indices]
        assert ours == pytest.approx(theirs)


@pytest.mark.parametrize("ranked", [True, False])
def test_a_resample_of_one_value_correlates_with_nothing(*, ranked: bool) -> None:
    values, labels = np.array([0.1, 0.3, 0.7]), np.array([0.3, 0.3, 0.9])
    found = correlation_of(values, labels, ranked=ranked)(np.array([[0, 1, 0], [1, 2, 0]]))
    assert np.isnan(found[0]) and found[1] > 0
    # Nor where rounding leaves something of the one value.
    generator = np.random.default_rng(4)
    for n in range(3, 60):
        one, other = generator.random((2, n))
        resamples = np.repeat(np.arange(n)[:, None], n, axis=1)
        assert np.isnan(correlation_of(one, other, ranked=ranked)(resamples)).all()


def test_cosines_are_of_two_that_follow_each_other() -> None:
    vectors = np.array(list(chain([[1, 0], [2, 0]], [[0, 3], [1, 0]], [[1, 1], [-2, -2]])))
    assert cosines_of(vectors.astype(np.float64)) == pytest.approx([1, 0, -1])
