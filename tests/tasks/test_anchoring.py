"""What the ledger knows of a journal cannot be rewritten by whoever has the journal's folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from infra.calls.chain import CALL, EPOCH, call_line, linked, other_line, taken_apart
from infra.calls.checkpoints import FILE, Checkpoint, Signer, append
from infra.calls.segments import paths_in
from infra.calls.trail import Trail
from infra.calls.vault import Vault
from infra.ledger import Ledger, schema
from infra.ledger.anchors import HOUR_US
from infra.settings import Settings
from release.errors import Conflict, Unavailable
from serving import journal
from serving.agent import anchoring
from serving.agent.anchoring import Anchoring
from serving.journal import JournalWriter
from tasks.calls import Erasure, erase, verify
from tasks.wiring import House
from tests.fakes.journals import signed, write_call
from tests.fakes.recorded import ADA, AT


class Host:
    """A gateway that writes, and the agent beside it."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(home=root)
        self.ledger = Ledger.open(self.settings.ledger)
        self.house = House(settings=self.settings, ledger=self.ledger, clock=lambda: AT + 99)
        self.vault = Vault(self.settings.calls_secrets)
        self.signer = Signer(self.settings.calls_secrets)
        self.agent = Anchoring(self.settings, "host")
        self.writer = JournalWriter(self.settings.journal, "host/g1")

    def write(self, calls: int = 10) -> Checkpoint:
        for _ in range(calls):
            write_call(self.writer, self.vault)
        return signed(self.writer, self.signer)

    def rewrite(self) -> None:
        """Change who made call 5, and make the chain anew: what the folder alone allows."""
        self.writer.close()
        chain = EPOCH
        for path in paths_in(self.writer.place):
            lines = []
            for line in path.read_bytes().splitlines():
                link = taken_apart(line)
                assert link is not None
                body = link.body
                if line.startswith(CALL) and b'"sequence":5,' in body:
                    body = body.replace(b'"user":"ann"', b'"user":"eve"')
                chain = linked(chain, body)
                sealed = link.sealed
                lines.append(
                    other_line(body, chain) if sealed is None else call_line(body, chain, sealed)
                )
            path.write_bytes(b"".join(lines))
        (self.writer.place / FILE).unlink()
        self.writer = JournalWriter(self.settings.journal, "host/g1")
        signed(self.writer, self.signer)

    def die_writing(self) -> None:
        """Leave a line that is torn, and go on as the next process does."""
        os.close(self.writer.mark().file)
        with paths_in(self.writer.place)[-1].open("ab") as file:
            file.write(b'{"call":{"at_us":17')
        self.writer = JournalWriter(self.settings.journal, "host/g1")

    def an_hour_passes(self) -> None:
        table = schema.anchors
        with self.ledger.database.write() as connection:
            connection.execute(sa.update(table).values(hour=table.c.hour - 1))

    def keep(self) -> None:
        self.agent.keep(self.ledger)

    def faults(self) -> list[str]:
        (proof,) = verify(self.house)
        return [str(one) for one in proof.faults]

    def anchors(self) -> list[int]:
        return [one.sequence for one in self.ledger.anchors("host_g1")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(anchoring, "ANCHOR_SECONDS", 0)
    made = Host(tmp_path)
    yield made
    made.writer.close()
    made.ledger.close()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_chain_made_anew_never_takes_the_place_of_an_anchor(
    host: Host, *, restarted: bool
) -> None:
    for _ in range(2):
        host.write(5)
        host.keep()
    assert host.faults() == []
    host.rewrite()
    host.write()
    if restarted:
        host.agent = Anchoring(host.settings, "host")
    for _ in range(3):
        with pytest.raises(Conflict, match="to go on from call 10 as that was anchored"):
            host.keep()
    assert host.anchors() == [10]
    assert "call 10 is not there" in host.faults()[0]


def test_in_another_hour_it_is_anchored_beside_what_accuses_it(host: Host) -> None:
    host.write()
    host.keep()
    host.rewrite()
    host.write()
    host.an_hour_passes()
    # A file that cannot be written is trouble as well, and a lesser one.
    host.settings = Settings(home=host.settings.home, anchors=str(host.settings.home))
    host.agent = Anchoring(host.settings, "host")
    with pytest.raises(Conflict, match="does not go on from call 10"):
        host.keep()
    host.write()
    with pytest.raises(Unavailable, match="cannot be added to"):
        host.keep()
    assert host.anchors() == [10, 30]
    assert "call 10 is not there" in host.faults()[0]


def test_an_honest_journal_has_one_anchor_an_hour(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 5_000)
    monkeypatch.setattr(journal, "WINDOW_SECONDS", -1)
    for number in range(6):
        host.write()
        host.writer.close_window()
        if number == 2:
            host.agent.keep(None)  # the ledger is away
            continue
        host.keep()
        erase(host.house, ADA, Erasure(namespace="default", user="ann", why="she asked"))
        if number == 3:
            host.agent = Anchoring(host.settings, "host")
        if number == 4:
            host.die_writing()
    assert len(paths_in(host.writer.place)) > 3
    assert (host.anchors(), host.faults()) == ([60], [])
    host.an_hour_passes()
    host.write()
    host.keep()
    assert (host.anchors(), host.faults()) == ([60, 70], [])


def test_a_long_way_is_walked_in_many_looks(host: Host) -> None:
    first = host.write()
    last = host.write(20)
    trail = Trail(host.writer.place, first)
    looks = 1
    while not trail.reaches(last, most=1_000):
        looks += 1
    assert looks > 5
    never = host.signer.checkpoint(gateway="host_g1", segment=1, sequence=30, chain=bytes(32))
    for _ in range(2):
        with pytest.raises(Conflict, match="does not go on from call 10"):
            trail.reaches(never)


def test_a_segment_that_went_missing_is_told(host: Host) -> None:
    host.write()
    host.keep()
    host.write()
    (host.writer.place / "00000001.jsonl").rename(host.writer.place / "away")
    with pytest.raises(Conflict, match="go on from call 10"):
        host.keep()
    (host.writer.place / "away").rename(host.writer.place / "00000001.jsonl")
    host.keep()
    assert host.anchors() == [20]


def test_an_answer_of_the_ledger_that_was_lost_accuses_nobody(host: Host) -> None:
    class Losing(Ledger):
        def anchor(self, checkpoint: Checkpoint, after: Checkpoint | None = None) -> None:
            super().anchor(checkpoint, after)
            raise Unavailable("The answer was lost.")

    losing = Losing(host.ledger.database)
    for number in range(1, 4):
        host.write()
        with pytest.raises(Unavailable):
            host.agent.keep(losing)
        assert host.anchors() == [10 * number]
    host.write()
    host.keep()
    assert host.anchors() == [40]


def test_the_ledger_never_replaces_what_is_older_than_its_newest(host: Host) -> None:
    host.ledger.anchor(host.write())
    host.an_hour_passes()
    newest = host.write()
    host.ledger.anchor(newest)
    forged = host.signer.checkpoint(gateway="host_g1", segment=1, sequence=50, chain=bytes(32))
    forged = msgspec.structs.replace(forged, at_us=forged.at_us - HOUR_US)
    with pytest.raises(Conflict, match="to go on from call 20"):
        host.ledger.anchor(forged)
    # One that goes on, by a clock that was put back.
    host.ledger.anchor(forged, after=newest)
    assert host.anchors() == [10, 50]


def test_hosts_that_share_a_ledger_need_names_of_their_own(host: Host, tmp_path: Path) -> None:
    host.write()
    host.keep()
    alike = Host(tmp_path / "another home")
    alike.ledger.close()
    alike.ledger = host.ledger
    for _ in range(2):
        alike.write()
        with pytest.raises(Conflict, match="of host_g1, another home has signed.*names of their"):
            alike.keep()
    assert host.anchors() == [10] and host.faults() == []
    host.an_hour_passes()
    with pytest.raises(Conflict, match="another home has signed"):
        alike.keep()
    # It lies beside that of before, and both are told.
    assert host.anchors() == [10, 20]
    assert "no checkpoint that was signed with this key" in host.faults()[0]
    alike.writer.close()


def test_a_checkpoint_of_another_gateway_is_anchored_for_nobody(host: Host) -> None:
    chain = host.writer.mark().chain
    forged = host.signer.checkpoint(gateway="web9_g1", segment=1, sequence=9, chain=chain)
    append(host.writer.place, forged)
    host.keep()
    assert host.ledger.anchored() == {}
    strange = msgspec.json.encode(host.write()).replace(b'"chain":"', b'"chain":"no hex')
    with (host.writer.place / FILE).open("ab") as file:
        file.write(strange + b"\n")
    host.keep()
    assert host.anchors() == [10]
