"""`plan` and `watch` as people use them, where nothing is up: ledger and registry only."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from infra.ledger import Change, Ledger
from release.releases import Desired, Phase, Release
from release.variants import Candidate
from tests.fakes.nouns import a_release, variant
from tests.fakes.suite import keyword_suite
from tests.infra.world import an_event, closed, opened
from tests.serving.tier import until
from tests.system.home import ROOT, SLIPWAY, Home

BUILD = """
import json, sys
from pathlib import Path
from evaluation.suites import load_suite
from release.variants import Recipe
from serving.variants.build import build
from tasks.inspection import fetch
from tasks.wiring import house
here = house()
candidate = here.registry.candidate("tiny", 2)
texts = load_suite(Path(sys.argv[1])).texts("calibration")
build(Recipe.parse("torch-fp32"), candidate, fetch(here, candidate), texts, here.store)
"""

ASK = """
import sys
from pathlib import Path
from release.errors import SlipwayError
from tasks.desk import open_release
from tasks.inspection import Request
from tasks.wiring import house
here = house()
request = Request(model="tiny", version=1, policy=Path(sys.argv[1]))
try:
    open_release(here, request, here.identities.prove(here.token))
except SlipwayError as error:
    print(error)
"""

PLAIN = """
import sys
from console.main import run
try:
    run()
finally:
    sys.stderr.write(repr(sorted({"torch", "prefect", "transformers"} & sys.modules.keys())))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("looking"))
    made.register("tiny")
    made.people()
    yield made
    made.house.ledger.close()


def policy(home: Home, name: str, **changes: str) -> str:
    path = home.policy(name, approvals=1)
    text = path.read_text().replace('["openvino-int8"]', '["torch-fp32"]')
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    return str(path)


def planned(home: Home, *arguments: str, code: int = 0, who: str = "") -> Any:
    command = ("plan", "tiny", *arguments, "--json")
    return json.loads(home.slipway(*command, code=code, who=who).stdout)


def written(home: Home) -> object:
    ledger = home.house.ledger
    return ledger.releases(), ledger.events(), ledger.all_desired(), ledger.owner("tiny", 0)


def test_a_plan_does_nothing_and_needs_neither_torch_nor_prefect(home: Home) -> None:
    before = written(home)
    good = policy(home, "good")
    done = home.python("-c", PLAIN, "plan", "tiny", "--version", "2", "--policy", good)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert "tiny@2 can be released as the model's first" in done.stdout
    assert "straight into production" in done.stdout
    assert "mind      It cannot be asked for as long as nothing runs: Nothing is up" in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
    assert written(home) == before
    assert not home.house.settings.store.exists()


def test_a_variant_that_was_built_is_found(home: Home) -> None:
    good = policy(home, "good")
    (making,) = planned(home, "--version", "2", "--policy", good)["makings"]
    assert (making["state"], making["seconds"]) == ("to build", None)
    done = home.python("-W", "ignore", "-c", BUILD, str(home.root / "suite"))
    assert done.returncode == 0, done.stderr[-2000:]
    (making,) = planned(home, "--version", "2", "--policy", good)["makings"]
    assert making["state"] == "stored"
    (other,) = planned(home, "--version", "3", "--policy", good)["makings"]
    assert other["state"] == "to build"


def test_every_obstacle_is_told_and_a_release_is_refused_by_the_first(home: Home) -> None:
    bad = policy(home, "bad", **{"/suite": "/elsewhere"})
    folder = home.root / "candidates" / "tiny" / "1"
    planned(home, "--version", "1", "--policy", bad, code=1)
    (folder / "more.pkl").write_bytes(b"\x80\x04.")
    told = planned(home, "--version", "1", "--policy", bad, code=1)
    assert [one.split(" ")[0] for one in told["obstacles"]] == ["No", "more.pkl"]
    assert (told["trial"], told["makings"][0]["state"]) == (None, "unknown")
    refused = home.python("-c", ASK, bad, SLIPWAY_TOKEN=home.tokens["rita"])
    assert refused.stdout.strip() == told["obstacles"][0], refused.stderr
    (folder / "more.pkl").unlink()


def test_labels_that_differ_from_the_suites_bar(home: Home) -> None:
    keyword_suite(home.root / "farben", ["蓝", "黄"])
    other = policy(home, "other", **{"/suite": "/farben"})
    told = planned(home, "-v", "2", "-p", other, code=1)
    (barred,) = told["obstacles"]
    assert "tiny@2 answers with alpha, beta, gamma, but its suite is labelled 蓝, 黄" in barred
    assert (told["trial"]["test"], told["trial"]["calibration"]) == (60, 12)
    assert told["makings"][0]["state"] == "to build"


def test_who_could_approve_depends_on_who_asks(home: Home) -> None:
    good = policy(home, "good")
    assert planned(home, "-p", good)["consent"]["people"] == ["max"]
    assert planned(home, "-p", good, who="rita")["consent"]["requester"] == "rita"
    (barred,) = planned(home, "-p", good, who="max", code=1)["obstacles"]
    assert "nobody besides max, who asks" in barred


def test_what_cannot_be_planned_ends_with_code_2(home: Home) -> None:
    assert "No model is registered" in home.slipway("plan", "nothing", code=2).stderr
    assert "No policy of tiny" in home.slipway("plan", "tiny", code=2).stderr


def test_beside_a_champion_the_steps_are_told_and_an_open_release_bars(home: Home) -> None:
    ledger, good = home.house.ledger, policy(home, "good")
    claim = ledger.claim("tiny", "one", 20, 100.0)
    champion = variant(1, "torch-fp32", "tiny")
    row = Desired(model="tiny", champion=champion)
    ledger.commit(claim, Change(desired=row, expected=0), 100.0)
    ledger.yield_claim(claim)
    told = planned(home, "-v", "2", "-p", good)
    assert [(one["share"], one["next_share"]) for one in told["needs"]] == [(50, 100), (100, 100)]
    assert told["needs"][0]["evidence"] == 9
    assert (told["champion"], told["rate"]) == ("tiny@1/torch-fp32", None)
    assert any("No request was seen of late" in one for one in told["warnings"])
    other = replace(a_release(1), candidate=Candidate(model="tiny", version=1), stable=champion)
    ledger.open_release(other, an_event("opened", release=other.id, model="tiny"))
    told = planned(home, "-v", "1", "-p", good, code=1)
    assert "is in production already" in told["obstacles"][0]
    assert f"has an open release, {other.id}" in told["obstacles"][1]


@dataclass
class Terminal:
    """A command on a terminal of its own, and all that it wrote there."""

    process: subprocess.Popen[bytes]
    said: bytearray

    @property
    def text(self) -> str:
        return self.said.decode(errors="replace")


@contextmanager
def terminal(home: Path, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SLIPWAY, *arguments],
        cwd=ROOT,
        env=Home(home).environment(COLUMNS="80", LINES="24", TERM="xterm"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    run = Terminal(process, bytearray())
    reader = Thread(target=_read, args=(ours, run.said), daemon=True)
    reader.start()
    try:
        yield run
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)


def _read(handle: int, into: bytearray) -> None:
    while True:
        try:
            some = os.read(handle, 65_536)
        except OSError:  # the other end is closed
            return
        if not some:
            return
        into += some


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield made
    made.close()


OUTCOMES = [(Phase.PROMOTED, 0), (Phase.REJECTED, 1), (Phase.RESTORED, 1), (Phase.ROLLED_BACK, 1)]


def test_on_a_terminal_watch_ends_with_its_release(ledger: Ledger, tmp_path: Path) -> None:
    release = opened(ledger)
    with terminal(tmp_path, "watch", release.candidate.model) as run:
        until(lambda: "preparing" in run.text, 20)
        assert run.process.poll() is None
        closed(ledger, release, Phase.RESTORED)
        assert run.process.wait(20) == 1
    last = run.text.rpartition("\x1b[?1049l")[2]
    assert "restored" in last, "the last frame stays when the other screen is left"


def test_ctrl_c_leaves_and_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    release = opened(ledger)
    with terminal(tmp_path, "watch", release.id) as run:
        until(lambda: "preparing" in run.text, 20)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(20) == 130
    assert "Traceback" not in run.text
    assert ledger.release(release.id) == release


@pytest.mark.parametrize(("phase", "code"), OUTCOMES)
def test_a_closed_release_is_told_in_lines_with_its_code(
    ledger: Ledger, tmp_path: Path, phase: Phase, code: int
) -> None:
    release: Release = opened(ledger)
    closed(ledger, release, phase)
    home = Home(tmp_path)
    for name in (release.id, release.candidate.model):
        said = home.slipway("watch", name, code=code).stdout
        assert said == "  opened           it was opened\n"
    picture = tmp_path / "frame.svg"
    home.slipway("watch", release.id, "--picture", str(picture))
    assert str(phase) in picture.read_text()


def test_nothing_to_watch_is_said(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.releases() == []
    assert "No release is called 'none'" in Home(tmp_path).slipway("watch", "none", code=2).stderr
