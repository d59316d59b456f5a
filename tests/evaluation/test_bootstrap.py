import numpy as np
import pytest

from evaluation.bootstrap import (
    Resampled,
    Resamples,
    accuracy_of,
    macro_f1_of,
    measurement,
    quantile_of,
    widened,
)
from evaluation.metrics import score
from release.reports import Measurement


def test_macro_f1_of_the_whole_sample_is_what_the_library_says() -> None:
    generator = np.random.default_rng(3)
    reference = generator.integers(0, 4, 500)
    predicted = np.where(generator.random(500) < 0.7, reference, generator.integers(0, 4, 500))
    whole = np.arange(500)[None, :]
    ours = macro_f1_of(predicted, reference, 4)(whole)[0]
    theirs = score(predicted.tolist(), reference.tolist())
    assert ours == pytest.approx(theirs["macro_f1"])
    assert accuracy_of(predicted == reference)(whole)[0] == pytest.approx(theirs["accuracy"])


def test_a_95_percent_interval_covers_the_truth_about_that_often() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        correct = generator.random(400) < 0.6
        resampled = Resamples.draw(400, rounds=400).of(accuracy_of(correct))
        found = measurement(float(correct.mean()), resampled, 400, 0.95)
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.6 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    generator = np.random.default_rng(9)
    old = generator.random(600) < 0.6
    new = old | (generator.random(600) < 0.1)
    draws = Resamples.draw(600)
    paired = draws.of(accuracy_of(new)) - draws.of(accuracy_of(old))
    shuffled = draws.of(accuracy_of(new)) - draws.of(accuracy_of(generator.permutation(old)))
    assert paired.std() < 0.6 * shuffled.std()


def test_the_same_sample_has_the_same_interval() -> None:
    latencies = np.random.default_rng(1).lognormal(size=300)
    once, again = (Resamples.draw(300).of(quantile_of(latencies, 0.99)) for _ in range(2))
    assert (once == again).all()


def test_a_perfect_sample_is_not_a_perfect_model() -> None:
    perfect = widened(Measurement(value=1.0, n=60, low=1.0, high=1.0), 0.95, 60)
    assert perfect.high == 1.0
    # Wilson's lower end for 60 of 60.
    assert perfect.low == pytest.approx(0.9398, abs=1e-3)
    wide = Measurement(value=0.5, n=60, low=0.1, high=0.9)
    assert widened(wide, 0.95, 60) == wide


def test_a_difference_rests_on_no_more_than_the_smaller_of_two_samples() -> None:
    many, few = (Resampled(value=0.5, draws=np.full(10, 0.5), n=n) for n in (50, 20))
    assert many.minus(few, 0.95).n == few.minus(many, 0.95).n == 20
