import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from infra.calls.lines import CallLine
from release.releases import Event, Phase, Release
from tests.bench import __main__ as bench
from tests.bench import journey
from tests.bench.accounts import account
from tests.bench.figures import Figure, ratio
from tests.fakes.call_lines import a_call
from tests.fakes.nouns import POLICY, a_release, judged, variant

Side = Literal["higher", "lower"]


def a_figure(value: float | None, goal: float | None, better: Side = "lower") -> Figure:
    return Figure(id="group.figure", what="of a test", value=value, goal=goal, better=better)


@pytest.mark.parametrize(
    ("value", "goal", "better", "met"),
    [
        (1.0, 1.0, "lower", True),
        (1.1, 1.0, "lower", False),
        (1.0, 1.0, "higher", True),
        (0.9, 1.0, "higher", False),
        (None, 1.0, "higher", None),
        (1.0, None, "higher", None),
    ],
)
def test_a_goal_is_met_on_its_better_side(
    value: float | None, goal: float | None, better: Side, met: object
) -> None:
    assert a_figure(value, goal, better).met is met


def test_what_no_table_can_compare_is_no_figure() -> None:
    with pytest.raises(ValueError, match="is nan"):
        a_figure(float("nan"), None)


def test_a_ratio_is_of_medians_and_turns_who_begins() -> None:
    now, order = 0.0, ""
    slow = iter([9.0, 2.0, 2.0, 50.0])

    def one() -> None:
        nonlocal now, order
        now, order = now + next(slow), order + "a"

    def other() -> None:
        nonlocal now, order
        now, order = now + 1.0, order + "b"

    found = ratio(one, other, rounds=3, clock=lambda: now)
    assert (found.value, found.low, found.high) == (2.0, 2.0, 50.0)
    assert order == "abbaabba"


def _works() -> Iterator[Figure]:
    yield a_figure(0.5, 0.4)


def _breaks() -> Iterator[Figure]:
    yield a_figure(0.1, None)
    raise RuntimeError("no demo")


def test_the_bench_writes_what_it_measured_and_says_what_it_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "OUT", tmp_path / "bench.json")
    monkeypatch.setattr(bench, "GROUPS", {"works": _works, "breaks": _breaks})
    assert bench.main(["--only", "works"]) == 0, "a goal that is missed is no failure"
    (only,) = json.loads((tmp_path / "bench.json").read_text())
    assert list(only) == ["id", "what", "value", "better", "goal", "met"]
    assert (only["value"], only["goal"], only["met"]) == (0.5, 0.4, False)
    assert "MISSED" in capsys.readouterr().out
    assert bench.main([]) == 1
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [one["value"] for one in kept] == [0.5, 0.1, None]
    assert "breaks could not be measured: RuntimeError('no demo')" in capsys.readouterr().out


def _event(kind: str, at: float, **data: object) -> Event:
    return Event(kind=kind, at=at, actor="slipway", sentence=kind, data=data)


def _records(release: Release, start: float, end: float) -> list[CallLine]:
    """Ten requests a second, every second one to the canary."""
    assert release.chosen is not None
    arms = (release.chosen.variant.digest, variant(1).digest)
    moments = [start + tenth / 10 for tenth in range(round(10 * (end - start)))]
    return [
        a_call(number, at=at, endpoint="docs-router", digest=arms[number % 2])
        for number, at in enumerate(moments)
    ]


def test_a_releases_time_is_split_without_gaps_or_overlaps() -> None:
    text = POLICY.replace("harm_budget = 0.05", "harm_budget = 0.9")
    release = replace(
        judged(a_release(stable=variant(1), text=text)), phase=Phase.PROMOTED, closed_at=200.0
    )
    events = [
        _event("opened", 0),
        _event("built", 10, cached=False, seconds=6.0),
        _event("built", 10.5, cached=True, seconds=0.1),
        _event("measured", 20),
        _event("measured", 21),
        _event("approval-wanted", 22),
        _event("approved", 32),
        _event("warming", 33),
        _event("step", 35),  # ten seconds of soak; its twenty requests are there at 39: 45
        _event("step", 46),
        _event("step", 60),
        _event("promoted", 75),
        _event("done", 200),
    ]
    found = account(release, events, _records(release, 35, 75))
    assert (found.wall, found.start, found.building) == (200.0, 4.0, 6.0)
    assert (found.measuring, found.person, found.bake) == (10.5, 10.0, 20.0)
    assert found.soak == pytest.approx(30.0)
    assert found.orchestration == pytest.approx(200 - 6 - 10.5 - 10 - 30 - 20)
    late = account(release, events, _records(release, 43, 75))
    assert late.soak == pytest.approx(46 - 35 + 10 + 10, abs=0.2), "it waited for requests"
    thin = [*_records(release, 35, 46), *_records(release, 58, 75)]
    assert account(release, events, thin).soak == pytest.approx(10 + 14 + 10), "each step counts"


def test_an_open_release_has_no_account() -> None:
    with pytest.raises(ValueError, match="still open: preparing"):
        account(a_release(), [], [])


@pytest.mark.parametrize(
    ("end", "seconds", "said"),
    [
        ("raise SystemExit('the worker is gone')", 60, "with code 1: the worker is gone"),
        ("import time; time.sleep(60)", 2, "took longer than 2 s"),
    ],
)
def test_a_demo_that_fails_leaves_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, seconds: float, said: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = (
        "import os, pathlib; pathlib.Path(os.environ['SLIPWAY_HOME'], 'logs').mkdir(parents=True)"
    )
    command = [sys.executable, "-c", f"{code}; {end}"]
    with pytest.raises(RuntimeError, match=rf"{said} \(its home is kept: (.*)\)") as caught:
        list(journey.figures(command, seconds))
    (home,) = tmp_path.glob("slipway-bench-*/demo")
    assert str(home) in str(caught.value)
    assert (home / "logs").is_dir()
