import pytest

from console.wording import age, counted
from release.wording import lasting


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (0.52, "0.52 s"),
        (9.96, "10 s"),
        (12.4, "12 s"),
        (59.7, "1 min"),
        (184, "3 min 4 s"),
        (7_200, "2 h"),
        (7_500, "2 h 5 min"),
        (86_400 * 4 + 7 * 3_600, "4 d 7 h"),
    ],
)
def test_a_time_is_said_to_two_units(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_an_age_is_said_to_one() -> None:
    assert [age(one) for one in (0, 0.2, 59.4, 7_500)] == ["1 s", "1 s", "59 s", "2 h"]


def test_one_is_not_many() -> None:
    assert (counted(1, "approval"), counted(2, "approval")) == ("1 approval", "2 approvals")
