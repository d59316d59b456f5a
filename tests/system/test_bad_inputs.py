"""Whatever is asked wrongly is refused with one sentence, and nothing is left of it."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.files import write_atomic
from infra.settings import inherited
from tests.fakes.healthy import healthy
from tests.system.bad_inputs import COMMANDS, IDS, plain
from tests.system.home import ROOT, Home

GOLDEN = Path(__file__).parents[1] / "golden" / "bad-inputs.toml"
REWRITE = "SLIPWAY_GOLDEN=write"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home of which only Prefect seems to be up: what is refused never comes so far."""
    made = Home(tmp_path_factory.mktemp("bad"))
    made.register("tiny")
    made.people()
    for name, role in (("vera", "viewer"), ("otto", "requester"), ("mia", "release-manager")):
        added = made.slipway("identity", "add", name, "--role", role, who="ada")
        made.tokens[name] = added.stdout.strip()
    made.slipway("identity", "disable", "otto", who="ada")
    with healthy() as url:
        addresses = {"gateway": url, "prefect": f"{url}/api"}
        write_atomic(made.root / "run" / "addresses.json", json.dumps(addresses).encode())
        yield made
    made.house.ledger.close()


@pytest.fixture(scope="module")
def answers(home: Home) -> dict[str, Any]:
    """Bad input to how the command answered it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.asking"],
        cwd=ROOT,
        env=home.environment(),
        input=json.dumps(home.tokens),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    if inherited().get("SLIPWAY_GOLDEN") == "write":
        lines = [f"{name} = {json.dumps(found[name]['said'], ensure_ascii=False)}" for name in IDS]
        head = f"# What the command says to each bad input; {REWRITE} writes it anew.\n"
        GOLDEN.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return found


def test_the_table_is_long_and_its_golden_file_is_whole() -> None:
    assert len(IDS) == len(set(IDS)) >= 30
    assert list(tomllib.loads(GOLDEN.read_text(encoding="utf-8"))) == IDS


@pytest.mark.parametrize("name", IDS)
def test_it_is_refused_with_its_sentence_and_leaves_nothing(
    answers: dict[str, Any], name: str
) -> None:
    golden = tomllib.loads(GOLDEN.read_text(encoding="utf-8"))
    answer = answers[name]
    assert answer["said"] == golden[name], f"{REWRITE} takes it as it is"
    assert answer["code"] == 2
    assert answer["said"].startswith("slipway: ")
    assert answer["said"].count("\n") == 1
    assert len(answer["said"]) < 400
    assert (answer["out"], answer["left"]) == ("", False)


@pytest.mark.parametrize(
    "name",
    ["name-leads-elsewhere", "approve-twice", "identity-taken", "rollback-unknown"],
)
def test_a_process_of_its_own_says_the_same(home: Home, answers: dict[str, Any], name: str) -> None:
    command = COMMANDS[name]
    words = [word.replace("HOME", str(home.root)) for word in command.words]
    refused = home.slipway(*words, who=command.who, code=2)
    assert plain(refused.stderr, home.root) == answers[name]["said"]


def test_a_setting_that_cannot_be_is_said(home: Home) -> None:
    said = home.slipway("status", code=2, SLIPWAY_PORT="99999").stderr
    limit = "Input should be less than or equal to 65535"
    assert said == f"slipway: SLIPWAY_PORT cannot be '99999'. ({limit})\n"
