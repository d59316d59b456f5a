"""Several processes at one ledger, and one that is killed in the middle."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from infra.ledger import Change, Ledger
from infra.settings import inherited
from release.evidence import Cursor, Tally, Window
from release.releases import Phase, Release
from tests.infra.world import MODEL, an_event, canary, claimed, opened

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=inherited(PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def together(code: str, arguments: list[list[str]]) -> list[str]:
    """Run code in several processes, all let go at the same moment; give what they print."""
    children = [python(code, *one) for one in arguments]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=120)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return said


HAMMER = """
import sys
from tests.infra.world import hammer
url, owner, times, force = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(hammer(url, owner, int(times), force=force == "force"))
"""


@pytest.mark.parametrize("way", ["shared", "force"])
def test_no_update_is_lost_between_four_processes(url: str, way: str) -> None:
    """By force every claim fences the one before; shared, the generation alone keeps order."""
    ledger, times, rounds, met = Ledger.open(url), 10, 0, False
    owners = [f"owner-{number}" if way == "force" else "same" for number in range(4)]
    while not met and rounds < 20:
        # Processes that happened to come one after the other have tested nothing: once more.
        rounds += 1
        tries = together(HAMMER, [[url, owner, str(times), way] for owner in owners])
        met = sum(map(int, tries)) > 4 * times
        desired = ledger.desired(MODEL)
        assert desired.generation == 4 * times * rounds
        assert desired.lease_until == 4 * times * rounds
        assert len(ledger.events(model=MODEL)) == 4 * times * rounds
    assert met, "nobody ever met: nothing was tested"
    ledger.close()


OPEN = """
import sys
from infra.ledger import Ledger
print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger.open(sys.argv[1])
print(len(ledger.releases()))
"""


def test_several_processes_open_a_fresh_home_at_once(url: str) -> None:
    assert together(OPEN, [[url]] * 4) == ["0"] * 4


RELEASE = """
import sys
from infra.ledger import Ledger
from release.errors import Conflict
from tests.fakes.nouns import a_release
from tests.infra.world import an_event
ledger = Ledger.open(sys.argv[1])
release = a_release(int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
try:
    ledger.open_release(release, an_event("opened", release=release.id))
    print("opened")
except Conflict as error:
    print("conflict")
"""


def test_of_several_releases_asked_for_at_once_one_opens(url: str) -> None:
    Ledger.open(url).close()
    said = together(RELEASE, [[url, str(version)] for version in (2, 3, 4)])
    assert sorted(said) == ["conflict", "conflict", "opened"]
    ledger = Ledger.open(url)
    assert len(ledger.releases()) == len(ledger.events()) == 1
    ledger.close()


def _state(ledger: Ledger, release: Release) -> tuple[object, ...]:
    return (
        ledger.desired(MODEL),
        ledger.release(release.id),
        [one for _, one in ledger.events()],
        ledger.evidence(release.id),
        ledger.cursors(MODEL),
    )


def _commit_and_die(url: str, release: Release, at: int) -> int:
    """Commit in a process that kills itself before its statement number `at`; give its status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        ledger, left = Ledger.open(url), [at]
        claim, before = claimed(ledger), ledger.desired(MODEL)

        @event.listens_for(ledger.database.engine, "before_cursor_execute")
        def _count(*_: object) -> None:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

        tallies = {MODEL: {"sha256:new": Tally(requests=10)}}
        window = Window(gateway="a/1", number=1, opened=0.0, closed=1.0, tallies=tallies)
        change = Change(
            release=release,
            desired=canary(before),
            expected=0,
            events=(an_event("step", release=release.id), an_event("told")),
            windows=(window,),
            cursors=(Cursor(gateway="a/1", window=1, offset=10),),
        )
        ledger.commit(claim, change, 100.0)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_commit_that_is_killed_anywhere_leaves_all_or_nothing(url: str) -> None:
    ledger = Ledger.open(url)
    release = opened(ledger)
    after = replace(release, phase=Phase.CANARY, step=1)
    before, killed = _state(ledger, release), 0
    # A child must not inherit open connections.
    ledger.close()
    while _commit_and_die(url, after, killed + 1) == signal.SIGKILL:
        killed += 1
        assert _state(ledger, release) == before
        ledger.close()
    assert killed > 8
    assert ledger.release(release.id) == after
    assert ledger.desired(MODEL).generation == 1
    assert [one.kind for _, one in ledger.events()] == ["opened", "step", "told"]
    assert ledger.evidence(release.id)["sha256:new"][0].requests == 10
    assert ledger.cursors(MODEL)["a/1"].offset == 10
    ledger.close()


def test_an_upgrade_that_is_killed_leaves_a_fresh_database(url: str) -> None:
    for at in (1, 8, 16):
        child = os.fork()
        if not child:
            _upgrade_and_die(url, at)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    ledger = Ledger.open(url)
    assert ledger.releases() == []
    ledger.close()


def _upgrade_and_die(url: str, at: int) -> None:
    left = [at]

    @event.listens_for(sa.Engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        left[0] -= statement.lstrip().upper().startswith("CREATE")
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        Ledger.open(url)
    finally:
        os._exit(1)
