"""How compute threads are divided."""

import pytest

from serving.replica.tuning import Split, best, choose_split, splits


@pytest.mark.parametrize(
    ("threads", "ways"),
    [
        (1, ["1×1"]),
        (2, ["1×2", "2×1"]),
        (3, ["1×3", "3×1"]),
        (8, ["1×8", "2×4", "8×1"]),
    ],
)
def test_no_division_has_more_threads_than_there_are(threads: int, ways: list[str]) -> None:
    found = splits(threads)
    assert [str(one) for one in found] == ways
    assert all(one.runners * one.threads == threads for one in found)


def test_the_fastest_division_is_taken_and_of_equals_the_plainest() -> None:
    speeds = {Split(runners=1, threads=8): 10.0, Split(runners=2, threads=4): 12.0}
    assert str(best(speeds)) == "2×4"
    assert str(best(dict.fromkeys(speeds, 1.0))) == "1×8"


def test_one_thread_needs_no_measurement() -> None:
    def never(split: Split) -> float:
        raise AssertionError(split)

    assert choose_split(1, never) == (Split(), {})
    split, speeds = choose_split(4, lambda one: float(one.runners))
    assert str(split) == "4×1"
    assert len(speeds) == 3
