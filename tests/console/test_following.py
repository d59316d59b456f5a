"""Following a release in lines, over a real ledger."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from console.following import follow
from console.frame import Frame
from console.training import follow_training
from console.watching import newer
from infra.ledger import Change, Ledger
from infra.settings import Settings
from release.errors import NotFound
from release.releases import Phase, Release
from release.training import Training
from release.variants import Candidate
from tasks.sight import LATE_SECONDS, find, see
from tasks.trainings import TRAINED, Asked, tell
from tasks.wiring import House
from tests.fakes.nouns import an_approval
from tests.infra.world import MODEL, an_event, claimed, closed, opened

NOW = 100.0


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    settings = Settings(home=tmp_path)
    made = House(settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: NOW)
    yield made
    made.ledger.close()


def waiting(here: House) -> Release:
    """Open a release that waits for a yes."""
    release = replace(opened(here.ledger), phase=Phase.AWAITING_APPROVAL)
    claim, before = claimed(here.ledger), here.ledger.desired(MODEL)
    here.ledger.commit(claim, Change(release=release, expected=before.generation), NOW)
    here.ledger.yield_claim(claim)
    return release


def test_a_script_is_answered_at_the_approval(
    here: House, capsys: pytest.CaptureFixture[str]
) -> None:
    release = waiting(here)
    assert follow(here, release.id, past_approval=False).phase is Phase.AWAITING_APPROVAL
    said = capsys.readouterr().out
    assert f'waits for a yes: slipway approve {release.id} --why "…"' in said


def test_nobody_is_asked_for_a_yes_that_was_given(
    here: House, capsys: pytest.CaptureFixture[str]
) -> None:
    release = waiting(here)
    here.ledger.approve(an_approval(release), an_event("approved", release=release.id))

    def end() -> None:
        time.sleep(1)
        closed(here.ledger, release)

    ending = Thread(target=end)
    ending.start()
    assert follow(here, release.id, past_approval=False).phase.closed
    ending.join()
    assert "waits for a yes" not in capsys.readouterr().out


def test_a_person_follows_on_and_is_told_once(
    here: House, capsys: pytest.CaptureFixture[str]
) -> None:
    release = waiting(here)

    def say_no() -> None:
        time.sleep(1)
        closed(here.ledger, release)

    other = Thread(target=say_no)
    other.start()
    ended = follow(here, release.id, past_approval=True)
    other.join()
    assert ended.phase is Phase.REJECTED
    said = capsys.readouterr()
    assert said.out.count("waits for a yes") == 1
    assert said.out.count("it was opened") == 1
    assert said.err == ""


def test_a_ledger_that_is_silent_is_asked_again(
    here: House, capsys: pytest.CaptureFixture[str]
) -> None:
    release = opened(here.ledger)
    closed(here.ledger, release)
    with _silent(here):
        assert follow(here, release.id, past_approval=True).phase is Phase.REJECTED
    said = capsys.readouterr()
    assert said.err.count("is asked again") == 1
    assert "it was opened" in said.out


def test_a_training_is_followed_past_a_silence(
    here: House, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(entrypoint="train.py", data="data")
    asked = Asked(
        id="t-1",
        model=MODEL,
        training=training,
        folder=here.settings.root,
        by="rita",
        release=False,
        at=NOW,
    )
    tell(here, asked, TRAINED, "t-1 gave a version", {"version": 3})
    with _silent(here):
        assert follow_training(here, asked) == Candidate(model=MODEL, version=3)
    said = capsys.readouterr()
    assert said.err.count("is asked again") == 1
    assert "t-1 gave a version" in said.out


@contextmanager
def _silent(here: House) -> Iterator[None]:
    """Let the ledger not answer for a second."""
    path = here.ledger.database.path
    content = _broken(here)

    def mend() -> None:
        time.sleep(1)
        path.write_bytes(content)

    other = Thread(target=mend)
    other.start()
    yield
    other.join()


def _broken(here: House) -> bytes:
    """Make a ledger's file something else, and give what it was."""
    here.ledger.close()
    path = here.ledger.database.path
    content = path.read_bytes()
    for beside in path.parent.glob("ledger.db-*"):
        beside.unlink()
    path.write_bytes(b"no database at all" * 1_000)
    return content


def test_without_the_ledger_the_last_sight_stays_and_grows_older(here: House) -> None:
    release = opened(here.ledger)
    first = Frame(sight=see(here, release.id), now=NOW)
    content = _broken(here)
    later = replace(here, clock=lambda: NOW + 30)
    blind = newer(later, first)
    assert blind.sight == first.sight
    assert blind.now - blind.sight.at == 30
    assert "does not answer" in blind.trouble
    here.ledger.close()
    here.ledger.database.path.write_bytes(content)
    again = newer(later, blind)
    assert (again.trouble, again.sight.at) == ("", NOW + 30)


def test_a_model_stands_for_its_open_release_or_its_newest(here: House) -> None:
    first = opened(here.ledger)
    assert find(here, MODEL).id == find(here, first.id).id == first.id
    closed(here.ledger, first)
    with pytest.raises(NotFound, match="has no open release"):
        find(here, MODEL)
    assert find(here, MODEL, newest=True).id == first.id
    with pytest.raises(NotFound, match="No release is called"):
        find(here, "another", newest=True)


def test_what_is_late_and_held_by_nobody_is_not_carried(here: House) -> None:
    release = opened(here.ledger)
    assert release.not_before == 0
    assert not see(here, release.id).carried
    assert see(replace(here, clock=lambda: LATE_SECONDS - 1), release.id).carried
    claim = here.ledger.claim(MODEL, "at work", 20, NOW)
    assert see(here, release.id).carried
    here.ledger.yield_claim(claim)


def test_a_person_may_take_their_time_and_nobody_else_may(here: House) -> None:
    release = waiting(here)
    asked = see(here, release.id)
    assert (asked.answered, asked.carried) == (False, True)
    refusal = replace(an_approval(release, granted=False), at=NOW)
    here.ledger.approve(refusal, an_event("rejection", release=release.id))
    answered = see(here, release.id)
    assert (answered.answered, answered.carried) == (True, True)
    later = replace(here, clock=lambda: NOW + LATE_SECONDS + 1)
    assert not see(later, release.id).carried


def test_a_yes_answers_only_where_it_counts(here: House) -> None:
    release = waiting(here)
    mine = an_approval(release, who=release.requester)
    here.ledger.approve(mine, an_event("approved", release=release.id))
    assert not see(here, release.id).answered
    here.ledger.approve(an_approval(release), an_event("approved", release=release.id))
    assert see(here, release.id).answered
