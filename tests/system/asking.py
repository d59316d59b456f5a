"""Put every bad input to the command, in this one process: `python -m tests.system.asking`.

Reads tokens as JSON from standard input; writes, for each input, the code, what was said and
whether the ledger grew. One process, for a process each would take a second or two each.
"""

import json
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from console.main import run
from infra.ledger import Change
from infra.ledger.schema import metadata
from release.releases import Chosen, Release
from tasks.advance import conclude
from tasks.desk import answer, open_release, roll_back
from tasks.inspection import Request
from tasks.wiring import House, house
from tests.fakes.nouns import variant
from tests.fakes.suite import LABELS, keyword_suite
from tests.fakes.tiny_registry import POLICY
from tests.system.bad_inputs import (
    CANDIDATES,
    COMMANDS,
    FLOORS,
    POLICIES,
    SUITES,
    TRAININGS,
    Command,
    plain,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where everything is asked."""

    here: House
    tokens: dict[str, str]

    @property
    def root(self) -> Path:
        return self.here.settings.root

    def policy(self, name: str, *, suite: Path | None = None, approvals: int = 1) -> Path:
        path = self.root / f"{name}.toml"
        where = suite or self.root / "suite"
        path.write_text(POLICY.format(suite=where, approvals=approvals, soak=0.5, lease=15))
        return path

    def release(self, path: Path, model: str = "tiny", version: int = 1) -> Command:
        words = ("release", model, "--version", str(version), "--policy", str(path))
        return Command(who="rita", words=words)

    def ask(self, command: Command) -> dict[str, Any]:
        """Run the command as somebody; say how it ended."""
        before = self._grown()
        (self.root / "token").write_text(self.tokens.get(command.who, ""))
        sys.argv = ["slipway", *command.words]
        said, out = StringIO(), StringIO()
        with redirect_stderr(said), redirect_stdout(out):
            code = _code(run)
        words = plain(said.getvalue(), self.root)
        return {"code": code, "said": words, "out": out.getvalue(), "left": self._grown() != before}

    def _grown(self) -> list[int]:
        with self.here.ledger.database.read() as connection:
            counts = (
                sa.select(sa.func.count()).select_from(table) for table in metadata.sorted_tables
            )
            return [connection.scalar(count) or 0 for count in counts]


def _code(command: Callable[[], None]) -> object:
    try:
        command()
    except SystemExit as end:
        return end.code
    except Exception:
        traceback.print_exc()
        return "raised"
    return 0


def policies(desk: Desk) -> dict[str, Command]:
    made = {}
    for name, spoil in POLICIES.items():
        path = desk.policy(name)
        spoil(path)
        made[name] = desk.release(path)
    return made


def suites(desk: Desk) -> dict[str, Command]:
    made = {}
    for name, spoil in SUITES.items():
        folder = keyword_suite(desk.root / "suites" / name, LABELS)
        spoil(folder)
        made[name] = desk.release(desk.policy(name, suite=folder))
    return made


def candidates(desk: Desk) -> dict[str, Command]:
    made = {}
    for version, (name, spoil) in enumerate(CANDIDATES.items(), start=1):
        folder = shutil.copytree(desk.root / "made" / "2", desk.root / "spoilt" / name)
        # A registry would follow a link: that one is met in what was fetched before.
        registered = desk.root / "made" / "2" if name == "files-link" else folder
        spoil(folder)
        desk.here.registry.register("bad", registered)
        if name == "files-link":
            kept = desk.root / "candidates" / "bad" / str(version)
            shutil.copytree(folder, kept, symlinks=True)
        made[name] = desk.release(desk.root / "good.toml", "bad", version)
    return made


def trainings(desk: Desk) -> dict[str, Command]:
    made = {}
    (desk.root / "train.py").touch()
    for name, text in TRAININGS.items():
        path = desk.root / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        words = ("retrain", "tiny", "--training", str(path))
        made[name] = Command(who="rita", words=words)
    return made


def floors(desk: Desk) -> dict[str, dict[str, Any]]:
    """Ask under each floor; it lies where the platform keeps it."""
    path, said = desk.root / "policies" / "floor.toml", {}
    path.parent.mkdir(exist_ok=True)
    for name, text in FLOORS.items():
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        said[name] = desk.ask(desk.release(desk.root / "good.toml"))
    path.unlink()
    return said


def world(desk: Desk) -> Release:
    """Make a release that waits, a closed one (given), one just opened, and a champion."""
    here = desk.here
    mia, peer = (here.identities.prove(desk.tokens[name]) for name in ("mia", "max"))
    opened = {}
    for model in ("waiting", "closed", "early", "crowned"):
        here.registry.register(model, desk.root / "made" / "2")
        if model != "crowned":
            path = desk.policy(model, approvals=2)
            opened[model] = open_release(here, Request(model=model, policy=path), mia)
    chosen = Chosen(variant=variant(1, model="waiting"), report="sha256:report")
    conclude(here, replace(opened["waiting"], verdict="pass", reason="good", chosen=chosen))
    answer(here, opened["waiting"].id, peer, granted=True, why="it is good")
    roll_back(here, "closed", peer, "a change of mind")
    claim = here.ledger.claim("crowned", here.owner, 10, here.clock())
    crowned = replace(here.ledger.desired("crowned"), champion=variant(1, model="crowned"))
    here.ledger.commit(claim, Change(desired=crowned, expected=0), here.clock())
    here.ledger.yield_claim(claim)
    return opened["closed"]


def typed(desk: Desk, closed: Release) -> dict[str, Command]:
    home = str(desk.root)
    return {
        name: replace(
            command,
            words=tuple(
                word.replace("HOME", home).replace("CLOSED", closed.id) for word in command.words
            ),
        )
        for name, command in COMMANDS.items()
    }


def main(tokens: dict[str, str]) -> None:
    desk = Desk(here=house(), tokens=tokens)
    desk.policy("good")
    spoilt = policies(desk) | suites(desk) | candidates(desk) | trainings(desk)
    commands = spoilt | typed(desk, world(desk))
    said = floors(desk) | {name: desk.ask(command) for name, command in commands.items()}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(json.load(sys.stdin))
