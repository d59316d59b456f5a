"""Who brought what is served is read off a model's events."""

import pytest

from release.releases import Event
from release.standing import brought, standings

DIGESTS = {"r1": "a", "r2": "b", "r3": "a", "r4": "a", "r5": "b"}


def moved(at: float, kind: str, release: str = "", generation: int = 0) -> Event:
    data = {"generation": generation} if generation else {}
    return Event(kind=kind, at=at, actor="x", sentence=f"{at:g}", release=release, data=data)


HISTORY = [
    moved(1, "opened", "r1"),
    moved(2, "warming", "r1"),
    moved(3, "promoted", "r1"),
    moved(10, "warming", "r2"),
    moved(11, "step", "r2"),
    moved(12, "step", "r2"),
    moved(13, "promoted", "r2"),
    # The same content as the first, called off before it served.
    moved(20, "warming", "r3"),
    moved(21, "restored", "r3"),
    moved(30, "rolled-back"),
    # And once more: it serves beside what it is the same as.
    moved(40, "step", "r4"),
    moved(50, "promoted", "r4"),
    moved(60, "step", "r5"),
    moved(61, "promoted", "r5"),
    moved(62, "rolled-back", "r5"),
]


@pytest.mark.parametrize(
    ("arm", "digest", "at", "release", "since"),
    [
        ("champion", "a", 2.5, None, 0),
        ("champion", "a", 5, "r1", 3),
        ("champion", "a", 12, "r1", 3),
        ("canary", "b", 12.5, "r2", 11),
        ("canary", "a", 12.5, None, 0),
        ("champion", "b", 25, "r2", 13),
        ("pinned", "a", 15, "r1", 2),
        ("pinned", "a", 20.5, "r3", 20),
        ("champion", "a", 35, "r1", 30),
        ("canary", "a", 45, "r4", 40),
        ("champion", "a", 45, "r1", 30),
        ("champion", "a", 55, "r4", 50),
        ("champion", "b", 61.5, "r5", 61),
        # A gateway that has not heard of the last move yet.
        ("champion", "b", 62.1, "r5", 61),
        ("champion", "a", 70, "r4", 62),
        ("champion", "c", 70, None, 0),
    ],
)
def test_the_release_is_the_one_that_stood_there_then(
    arm: str, digest: str, at: float, release: str | None, since: float
) -> None:
    stood = standings(HISTORY)
    found = brought(stood, DIGESTS, arm=arm, digest=digest, at=at, generation=0)
    if release is None:
        assert found is None
        return
    assert found is not None
    assert (found[0], found[1].at) == (release, since)


def test_routes_tell_more_exactly_than_clocks() -> None:
    history = [
        moved(100, "promoted", "r1", 1),
        moved(200, "promoted", "r2", 2),
        moved(300, "promoted", "r3", 3),
    ]

    def named(digest: str, generation: int, at: float) -> str | None:
        found = brought(
            standings(history), DIGESTS, arm="champion", digest=digest, at=at, generation=generation
        )
        return found[0] if found else None

    # The call's host is some minutes behind the ledger's, or before it.
    assert named("a", 3, 150) == "r3" and named("a", 1, 350) == "r1"
    assert named("b", 2, 50) == "r2" and named("b", 1, 350) is None
