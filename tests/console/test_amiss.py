"""`slipway status` says what any process of the host says is amiss, each in one line."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console.amiss import Amiss, calls_line, hear_all
from infra.processes import free_port
from infra.sockets import AGENT, INDEXER, Voice, sockets_under
from infra.troubles import Trouble, plain
from tests.system.home import Home

NOW = time.time()
BEHIND = {"calls": 1_204, "bytes": 900_000, "since": NOW - 200}
LONG = "The call store at postgresql://slipway@db/calls does not answer: " + "it is away, " * 30
SAYS: dict[str, dict[str, Any]] = {
    "gateway-g1.sock": {"troubles": []},
    "gateway-g2.sock": {
        "troubles": plain(
            [Trouble(what="it refuses every call", why="No room.", since=NOW - 7_300)]
        )
    },
    AGENT: {
        "anchors": 7,
        "troubles": plain([Trouble(what="could not anchor the call record", why="503", since=NOW)]),
    },
    INDEXER: {
        "store": "postgresql://slipway@db/calls",
        "behind": BEHIND,
        "troubles": plain([Trouble(what="calls are not folded", why=LONG, since=NOW - 11_000)]),
    },
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose processes are voices alone; one gateway left its file, one its socket."""
    made = Home(tmp_path)
    sockets = sockets_under(made.house.settings.run)
    voices = [Voice(sockets / name, lambda said=said: said) for name, said in SAYS.items()]  # type: ignore[misc]
    (sockets / "gateway-g3.metrics").touch()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sockets / "gateway-g4.sock"))
    dead = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    addresses = {"gateway": dead, "prefect": dead}
    (made.house.settings.run / "addresses.json").write_text(json.dumps(addresses))
    yield made
    for one in voices:
        one.close()
    made.house.ledger.close()


def test_every_process_of_the_host_is_heard(home: Home) -> None:
    log = home.house.settings.logs / "gateway-g3.log"
    log.parent.mkdir(parents=True)
    log.write_text("gateway: the first\ngateway: The secret is gone.\n")
    found = {one.who: one for one in hear_all(home.house.settings).amiss}
    assert found.keys() == {"g2", "g3", "g4", "agent", "indexer"}
    assert found["g2"] == Amiss(
        who="g2", what="it refuses every call", why="No room.", since=NOW - 7_300
    )
    assert found["g3"].why == f"its log ends with: gateway: The secret is gone. (see {log})"
    assert "it does not run" in found["g4"].what and found["g4"].since is None
    assert found["agent"].why == f"503; 7 anchors wait in {home.root / 'anchors'}"


def test_people_are_told_each_in_one_line_and_programs_as_json(home: Home) -> None:
    lines = home.slipway("status").stdout.splitlines()
    told = [line for line in lines if line.startswith("trouble")]
    assert [line.split()[1].rstrip(":") for line in told] == ["g2", "g3", "g4", "agent", "indexer"]
    assert "trouble   g2 for 2 h: it refuses every call: No room." in told
    assert f"indexer for 3 h: calls are not folded: {LONG.strip()}" in told[-1]
    (calls,) = (line for line in lines if line.startswith("calls"))
    assert calls.startswith(
        "calls     1204 calls (900 kB) to be folded into postgresql://slipway@db"
    )
    found = home.json("status")
    assert found["parts"]["calls"].startswith("1204 calls")
    assert [one["who"] for one in found["troubles"]] == ["g2", "g3", "g4", "agent", "indexer"]
    assert found["troubles"][-1]["why"] == LONG and found["troubles"][-1]["since"] is not None
    assert found["calls"]["waiting"]["calls"] == 1_204


def test_what_is_amiss_is_told_also_where_the_ledger_is_away(home: Home) -> None:
    away = f"postgresql://nobody@127.0.0.1:{free_port('127.0.0.1')}/none"
    done = home.slipway("status", code=2, SLIPWAY_LEDGER_URL=away)
    assert "trouble   g2" in done.stdout and "The ledger at" in done.stderr


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({}, "how far they are folded is not known: the indexer does not say"),
        ({"store": "a.db", "behind": None}, "how far they are folded into a.db is not known"),
        ({"store": "a.db", "behind": {"calls": 0, "bytes": 9, "since": 0}}, "all folded into a.db"),
        (
            {"store": "a.db", "behind": {"calls": 1, "bytes": 2_400_000, "since": NOW - 90}},
            "1 call (2 MB) to be folded into a.db, the first came 1 min ago",
        ),
    ],
)
def test_how_far_calls_are_folded_is_said(said: dict[str, Any], line: str) -> None:
    assert calls_line(said, NOW) == line
