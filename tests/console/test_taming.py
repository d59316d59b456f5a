"""What others wrote is shown as it stands: no terminal obeys it, and it is no markup either."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from console import calling, finding, inspecting, people, views
from console.following import say
from infra.callers.keys import Keys, NewKey
from infra.calls.query import Query
from release.releases import Event
from release.wording import tame
from tasks.personal import Leak
from tasks.wiring import House
from tests.fakes.call_lines import a_call
from tests.fakes.nouns import a_release
from tests.fakes.recorded import ADA, Journal, a_house

EVIL = "[/x] a\x1b[2J\nb"
SHOWN = r"[/x] a\x1b[2J\nb"
FAR = 2.0**61 / 1e6
"""Seconds after which no calendar goes on."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with a_house(tmp_path) as made:
        for module in (calling, finding, people, views):
            monkeypatch.setattr(module, "house", lambda: made)
        monkeypatch.setattr(finding, "actor", lambda _: ADA)
        monkeypatch.setenv("COLUMNS", "200")
        yield made


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Give what was printed since; nothing of it may be an escape."""

    def read() -> str:
        out = capsys.readouterr().out
        assert "\x1b" not in out
        return out

    return read


def test_what_a_terminal_would_obey_is_written_as_escapes() -> None:
    assert tame(EVIL) == SHOWN and tame("我的订单 é") == "我的订单 é"
    assert tame("\x9b2J\u202e\x07\r") == r"\x9b2J\u202e\x07\r"


def test_keys_are_listed_whatever_they_are_called(here: House, said: Callable[[], str]) -> None:
    new = NewKey(name="[/x] shop", scopes=("default/*:infer", "default/*:read"), tenant="[bold]")
    Keys(here.ledger, b"pepper").for_the_house(new)
    calling.show_keys(as_json=False)
    first, second = said().splitlines()[1:]
    assert "[/x] shop" in first and "default/*:infer" in first and "default/*:read" in second


def test_a_call_is_told_whatever_it_claims(here: House, said: Callable[[], str]) -> None:
    Journal(here.settings).write(
        "asked", "x", "sha256:a", at=FAR, id=EVIL, model=EVIL, version=1, user=EVIL
    )
    finding.search(Query())
    assert "9999-12-31 23:59:59" in (told := said()) and SHOWN in told
    finding.show(EVIL)
    assert f"model: {SHOWN}\n" in said()
    finding.who(Query())
    first, *rest = said().splitlines()
    assert first.startswith(f"call {SHOWN} to tiny at 9999-12-31 23:59:59.000: {SHOWN}@1/ answered")
    assert len(rest) == 2


def test_a_leak_is_told_whatever_its_call_claims() -> None:
    line = a_call(1, at=FAR, id=EVIL)
    told = inspecting._line(Leak(gateway="g1", line=line, kinds={"PERSON": 2}))
    assert told == f"9999-12-31 23:59:59 default/tiny {SHOWN}: 2 PERSON"


def test_a_history_is_told_whatever_was_said_in_it(here: House, said: Callable[[], str]) -> None:
    release = replace(a_release(), reason=EVIL)
    opened = Event(kind="opened", at=0.0, actor="[/y]", sentence=EVIL, release=release.id)
    here.ledger.open_release(release, opened)
    lines = [Text.from_markup(one).plain for one in views.history_lines(here, "docs-router")]
    assert [SHOWN in one and "\x1b" not in one for one in lines] == [True, True]
    assert "[/y]" in lines[1]
    views.history("docs-router", as_json=False)
    assert SHOWN in said()
    views.status(as_json=False)
    assert f"preparing for 20720 d: {SHOWN}" in said()
    say(opened)
    assert said() == f"  opened           {SHOWN}\n"
