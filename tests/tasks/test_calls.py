"""Payloads are erased by right and on record, and the journal is proven all the same."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from infra.calls.checkpoints import Checkpoint, Signer, append_line
from infra.calls.erase import overwrite, payloads
from infra.calls.indexing import Indexer
from infra.calls.query import Query
from infra.calls.retention import REMOVED, Outlived, note_removal, remove
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from infra.calls.verify import segments_in
from infra.identity import Identity
from infra.ledger import Ledger
from infra.processes import host_name
from infra.settings import Settings
from release.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from release.releases import Event
from release.routes import Guard, Route, Routes
from serving.agent import anchoring
from serving.agent.anchoring import Anchoring
from serving.gateway.presence import present
from serving.gateway.snapshot import Snapshot
from serving.journal import JournalWriter
from tasks.calls import ERASED, ERASING, Erasure, erase, verify
from tasks.wiring import House
from tests.fakes.journals import AT, DAY, a_journal, write_call
from tests.fakes.wire_replica import variant

ADA = Identity(name="ada", role="admin")
LATER = AT + 2 * 86_400


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    settings = Settings(home=tmp_path, anchors=str(tmp_path / "anchors.jsonl"))
    made = House(settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: LATER)
    # The tests' journals keep their secrets right under the root.
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "calls").symlink_to(tmp_path / "secrets")
    _, checkpoint = a_journal(tmp_path, monkeypatch)
    made.ledger.anchor(checkpoint)
    yield made
    made.ledger.close()


def erased_in(here: House) -> tuple[int, int]:
    (proof,) = verify(here)
    assert proof.faults == [] and (proof.last, proof.anchored) == (30, 30)
    return proof.erased, proof.unrecorded


def test_a_users_payloads_are_erased_where_they_stand(here: House) -> None:
    place = here.settings.journal / "host_g1"
    sizes = [len(content) for _, content in segments_in(place)]
    assert erased_in(here) == (0, 0)
    gone = erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
    assert gone == [("host_g1", number) for number in range(1, 31, 3)]
    assert erased_in(here) == (10, 0)
    assert [len(content) for _, content in segments_in(place)] == sizes
    assert erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked")) == []
    told = [event for _, event in here.ledger.events(kinds=(ERASING, ERASED))]
    assert [one.kind for one in told] == [ERASING, ERASED] * 2
    assert told[1].sentence == "ada erased 10 payloads of default, user:bob: he asked"


def test_what_a_key_without_a_user_asked_is_erased_by_its_id(here: House) -> None:
    writer, vault = (
        JournalWriter(here.settings.journal, "host/g1"),
        Vault(here.settings.calls_secrets),
    )
    for caller in ("35ffb8e5b193", "44f571d4744a"):
        write_call(writer, vault, user="", caller=caller, at=LATER - 9)
    writer.close()
    (erased,) = erase(here, ADA, Erasure(namespace="default", key="44f571d4744a", why="he asked"))
    assert erased == ("host_g1", 32)
    (proof,) = verify(here)
    assert (proof.faults, proof.erased, proof.unrecorded) == ([], 1, 0)
    left = [one.call.caller for one in payloads(here.settings.journal, "default")]
    assert left.count("35ffb8e5b193") == 1 and "44f571d4744a" not in left
    with pytest.raises(Invalid, match="one of them alone"):
        Erasure(namespace="default", why="x", user="bob", key="44f571d4744a")


def test_a_users_call_that_was_under_way_is_erased_once_it_is_written(here: House) -> None:
    arm = variant(1)
    route = Route(endpoint="tiny", generation=1, stable=arm, guard=Guard(deadline_ms=4_000))
    other = Route(endpoint="big", generation=1, stable=arm, guard=Guard(deadline_ms=7_000))
    routes = Routes(number=1, routes={"tiny": route, "big": other})
    Snapshot(routes=routes).save(here.settings.run)
    writer = JournalWriter(here.settings.journal, "host/g1")
    vault, waited = Vault(here.settings.calls_secrets), list[float]()

    def wait(seconds: float) -> None:
        waited.append(seconds)
        # The one arrived before the erasure and is written after it, the other arrives after it.
        write_call(writer, vault, user="bob", at=LATER - 1)
        write_call(writer, vault, user="bob", at=LATER + 1)
        writer.close()

    with present(here.settings.run):
        gone = erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"), wait=wait)
    assert waited == [10.0]
    assert [number for _, number in gone] == [*range(1, 31, 3), 31]
    left = [one.call.sequence for one in payloads(here.settings.journal, "default")]
    assert left == [*(n for n in range(1, 31) if n % 3 != 1), 32]
    (event,) = [one for _, one in here.ledger.events(kinds=(ERASED,))]
    assert event.data["payloads"] == 11
    (proof,) = verify(here)
    assert (proof.faults, proof.erased, proof.unrecorded) == ([], 11, 0)
    # Nobody need wait for a single call, or a day that is over.
    erase(
        here, ADA, Erasure(namespace="default", calls=frozenset({"host_g1/2"}), why="x"), wait=wait
    )
    assert waited == [10.0]


def test_nobody_waits_for_gateways_that_are_no_more(here: House) -> None:
    route = Route(endpoint="tiny", generation=1, stable=variant(1), guard=Guard(deadline_ms=4_000))
    Snapshot(routes=Routes(number=1, routes={"tiny": route})).save(here.settings.run)
    waited = list[float]()

    def erased(user: str) -> list[float]:
        waited.clear()
        asked = Erasure(namespace="default", user=user, why="asked")
        erase(here, ADA, asked, wait=waited.append)
        return list(waited)

    assert erased("ann") == []  # none ever was
    first, second = ExitStack(), ExitStack()
    for gateway in (first, second):
        gateway.enter_context(present(here.settings.run))
    first.close()
    assert erased("ann") == [7.0]
    second.close()
    assert erased("ann") == []
    # One of before the lock is known by its process, and by whatever name its folder has.
    link = here.settings.root / "link"
    link.symlink_to(here.settings.run)
    code = ("-c", "import sys; sys.stdin.read()", "serving.gateway.main", "--folder", str(link))
    with subprocess.Popen([sys.executable, *code], stdin=subprocess.PIPE) as process:
        assert erased("ann") == [7.0]
        process.kill()
    assert erased("ann") == []


def test_a_days_payloads_are_erased_with_its_key(here: House) -> None:
    assert len(erase(here, ADA, Erasure(namespace="default", day=DAY, why="old"))) == 30
    assert erased_in(here) == (30, 0)
    assert erase(here, ADA, Erasure(namespace="default", day=DAY, why="old")) == []
    with pytest.raises(NotFound, match="has no payloads of 2026-09-20"):
        erase(here, ADA, Erasure(namespace="default", day="2026-09-20", why="old"))


def test_a_payload_that_vanished_without_a_record_is_told(here: House) -> None:
    Vault(here.settings.calls_secrets).destroy("default", DAY)
    assert erased_in(here) == (30, 30)


def test_who_may_erase_and_what(here: House) -> None:
    eve = Identity(name="eve", role="release-manager")
    with pytest.raises(Refused, match="eve is release-manager and may not erase"):
        erase(here, eve, Erasure(namespace="default", user="bob", why="x"))
    with pytest.raises(Invalid, match="a day, a user, a key or an id"):
        Erasure(namespace="default", why="x", user="bob", day=DAY)
    with pytest.raises(Invalid, match="needs a reason"):
        Erasure(namespace="default", why="", user="bob")
    with pytest.raises(Invalid, match="There is no key"):
        erase(here, ADA, Erasure(namespace="../..", day=DAY, why="x"))
    today = House(settings=here.settings, ledger=here.ledger, clock=lambda: AT)
    with pytest.raises(Invalid, match="is not over"):
        erase(today, ADA, Erasure(namespace="default", day=DAY, why="x"))
    assert erased_in(here) == (0, 0)
    assert here.ledger.events(kinds=(ERASING,)) == []


def test_a_namespace_that_nobody_knows_is_told(here: House) -> None:
    with pytest.raises(NotFound, match=r"no namespace 'defualt'.*did you mean .default..\)"):
        erase(here, ADA, Erasure(namespace="defualt", user="bob", why="he asked"))
    assert here.ledger.events(kinds=(ERASING,)) == []
    # Known by its keys alone, as one that was taken away is.
    writer = JournalWriter(here.settings.journal, "host/g1")
    write_call(writer, Vault(here.settings.calls_secrets), user="bob", namespace="gone")
    writer.close()
    assert erase(here, ADA, Erasure(namespace="gone", user="bob", why="x")) == [("host_g1", 31)]
    # By what is searched alone: its keys are gone.
    store = CallStore(here.settings.call_store)
    Indexer(here.settings.journal, store, Vault(here.settings.calls_secrets)).fold()
    store.close()
    Vault(here.settings.calls_secrets).destroy("gone", DAY)
    assert erase(here, ADA, Erasure(namespace="gone", user="bob", why="x")) == []


def test_an_agent_anchors_its_own_gateways_and_tells_one_that_went_back(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchoring, "ANCHOR_SECONDS", 0)
    place = here.settings.journal / "host_g1"
    place.rename(here.settings.journal / "other_g1")
    Anchoring(here.settings, "host").keep(here.ledger)
    assert here.ledger.anchors("other_g1") == []
    (here.settings.journal / "other_g1").rename(place)
    mine = Anchoring(here.settings, "host")
    mine.keep(here.ledger)
    (kept,) = here.ledger.anchors("host_g1")
    filed = here.settings.anchors_file
    assert filed is not None and filed.read_bytes().count(b"host_g1") == 1
    for path in place.iterdir():
        path.unlink()
    JournalWriter(here.settings.journal, "host/g1").close()
    before = Checkpoint(at_us=kept.at_us, chain="0" * 64, gateway="host_g1", segment=1, sequence=0)
    with pytest.raises(Conflict, match="is at call 0, and was at call 30 before"):
        here.ledger.anchor(before)
    (proof,) = verify(here)
    assert "its end was cut off" in str(proof.faults[0])


def test_a_gateway_may_write_on_while_payloads_are_erased(here: House) -> None:
    writer = JournalWriter(here.settings.journal, "host/g1")
    vault = Vault(here.settings.calls_secrets)
    write_call(writer, vault, user="bob")
    erase(here, ADA, Erasure(namespace="default", user="bob", why="he asked"))
    write_call(writer, vault, user="bob")
    writer.close()
    (proof,) = verify(here)
    assert proof.good and (proof.last, proof.erased) == (32, 11)


def indexed(here: House) -> CallStore:
    store = CallStore(here.settings.call_store)
    Indexer(here.settings.journal, store, Vault(here.settings.calls_secrets)).fold()
    return store


def test_an_erasure_beside_a_long_reader_ends_and_says_what_is_left(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("READ_SECONDS", "SETTLE_SECONDS"):
        monkeypatch.setattr(f"infra.calls.settling.{name}", 0.1)
    indexed(here).close()
    said = list[str]()
    told = House(settings=here.settings, ledger=here.ledger, clock=here.clock, say=said.append)
    with closing(sqlite3.connect(here.settings.call_store, isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from calls").fetchall()
        assert len(erase(told, ADA, Erasure(namespace="default", user="bob", why="x"))) == 10
    (one,) = said
    assert "is found no more; the call store's files hold it still" in one
    assert len(here.ledger.events(kinds=(ERASED,))) == 1


@pytest.mark.parametrize("what", [{"day": DAY}, {"user": "bob"}])
def test_an_erasure_that_was_interrupted_is_finished_by_the_next(
    here: House, monkeypatch: pytest.MonkeyPatch, what: dict[str, str]
) -> None:
    erasure = Erasure(namespace="default", why="asked", **what)  # type: ignore[arg-type]
    store = indexed(here)
    number = 4  # of a call of bob's
    assert [hit.line.sequence for hit in store.page(Query(text=f"text {number}"))] == [4]

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.calls._forget", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(here, ADA, erasure)
    assert store.page(Query(text=f"text {number}")) != []
    assert erase(here, ADA, erasure) == []
    assert store.page(Query(text=f"text {number}")) == []
    store.close()
    assert erase(here, ADA, erasure) == []
    assert erased_in(here)[1] == 0


def test_what_an_indexer_holds_just_then_is_forgotten_as_well(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = indexed(here)
    # As whoever looks before the other has committed: nothing is seen, and yet it comes.
    monkeypatch.setattr("tasks.calls.every", lambda *_: [])
    erase(here, ADA, Erasure(namespace="default", user="bob", why="asked"))
    assert store.page(Query(text="text 4")) == []
    store.close()


def test_what_came_after_an_erasure_is_not_covered_by_it(here: House) -> None:
    vault, writer = (
        Vault(here.settings.calls_secrets),
        JournalWriter(here.settings.journal, "host/g1"),
    )
    write_call(writer, vault, user="bob", at=LATER + 1)
    assert len(erase(here, ADA, Erasure(namespace="default", user="bob", why="asked"))) == 10
    write_call(writer, vault, user="bob", at=LATER + 2)
    writer.close()
    (proof,) = verify(here)
    assert (proof.faults, proof.erased, proof.unrecorded) == ([], 10, 0)
    young = [one for one in payloads(here.settings.journal, "default") if one.call.user == "bob"]
    assert [one.call.sequence for one in young] == [31, 32]
    assert list(overwrite(young[1:])) == young[1:]
    (proof,) = verify(here)
    assert (proof.faults, proof.erased, proof.unrecorded) == ([], 11, 1)


def test_calls_can_be_erased_one_by_one(here: House) -> None:
    named = frozenset({"host_g1/3", "host_g1/4", "x/5"})
    erasure = Erasure(namespace="default", why="a name", calls=named)
    assert erase(here, ADA, erasure) == [("host_g1", 3), ("host_g1", 4)]
    assert erased_in(here) == (2, 0)


def test_a_payload_that_was_cut_is_not_taken_for_an_erased_one(here: House) -> None:
    erase(here, ADA, Erasure(namespace="default", user="bob", why="asked"))
    path = here.settings.journal / "host_g1" / "00000001.jsonl"
    path.write_bytes(re.sub(rb'"sealed":"-+"', b'"sealed":"--------"', path.read_bytes(), count=1))
    (proof,) = verify(here)
    assert [str(one) for one in proof.faults] == [
        "segment 1, line 2: the payload of call 1 was cut, and not only erased."
    ]


def test_a_half_erased_payload_is_told_until_the_erasure_is_done_again(here: House) -> None:
    erasure = Erasure(namespace="default", user="bob", why="asked")
    first = next(iter(payloads(here.settings.journal, "default")))
    with first.path.open("r+b") as file:
        file.seek(first.offset)
        file.write(b"-" * 40)
    (proof,) = verify(here)
    assert "is not the one that was sealed" in str(proof.faults[0])
    assert len(erase(here, ADA, erasure)) == 10
    with first.path.open("r+b") as file:
        file.seek(first.offset + 40)
        file.write(b"A" * 8)
    (proof,) = verify(here)
    assert (proof.faults, proof.erased, proof.unfinished) == ([], 9, 1)
    assert erase(here, ADA, erasure) == [("host_g1", 1)]
    assert erased_in(here) == (10, 0)


def test_what_retention_and_erasure_do_meanwhile_is_no_fault(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, turns = here.settings.journal / "host_g1", list[int]()

    def meanwhile(found: Path) -> Iterator[tuple[int, bytes]]:
        for number, content in segments_in(found):
            yield number, content
            if not turns:
                turns.append(number)
                paths = tuple(place / f"0000000{n}.jsonl" for n in (1, 2))
                remove(
                    Outlived(gateway="host_g1", paths=paths),
                    partial(note_removal, here.ledger, LATER),
                )
                erase(here, ADA, Erasure(namespace="default", user="ann", why="asked"))

    monkeypatch.setattr("tasks.proving.segments_in", meanwhile)
    (proof,) = verify(here)
    assert proof.faults == [] and (proof.first, proof.last, proof.unrecorded) == (21, 30, 0)
    assert proof.erased == 7


def test_a_segment_that_goes_while_it_is_erased_is_gone_as_well(here: House) -> None:
    found = list(payloads(here.settings.journal, "default"))
    found[0].path.unlink()
    assert [one.call.sequence for one in overwrite(found)] == list(range(11, 31))


def test_a_write_that_stops_half_way_is_gone_on_with(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite

    def short(handle: int, content: bytes, offset: int) -> int:
        return whole(handle, content[:7], offset)

    monkeypatch.setattr(os, "pwrite", short)
    erase(here, ADA, Erasure(namespace="default", user="bob", why="asked"))
    assert erased_in(here) == (10, 0)


def test_a_gateway_whose_folder_is_gone_is_missed(here: House) -> None:
    shutil.rmtree(here.settings.journal / "host_g1")
    (proof,) = verify(here)
    assert [str(one) for one in proof.faults] == [
        "segment 3: no segment is there, and a checkpoint knows call 30."
    ]
    here.ledger.note(removal("host_g1", 2))
    assert not verify(here)[0].good
    here.ledger.note(removal("host_g1", 3))
    (proof,) = verify(here)
    assert proof.good and proof.calls == 0


def removal(gateway: str, segment: int) -> Event:
    data = {"gateway": gateway, "segment": segment}
    return Event(kind=REMOVED, at=LATER, actor="slipway", sentence="it went", data=data)


def test_gateways_that_only_a_file_of_anchors_knows_are_missed_if_they_are_of_this_host(
    here: House,
) -> None:
    signer = Signer(here.settings.calls_secrets)
    given = here.settings.root / "elsewhere.jsonl"
    for gateway in (f"{host_name()}_g7", "another-host_g1"):
        append_line(
            given, signer.checkpoint(gateway=gateway, segment=1, sequence=5, chain=bytes(32))
        )
    proofs = {one.gateway: one for one in verify(here, given)}
    assert proofs["host_g1"].good and not proofs[f"{host_name()}_g7"].good
    assert proofs["another-host_g1"].elsewhere and proofs["another-host_g1"].good
    given.write_text("nothing\n")
    with pytest.raises(Invalid, match="There is no anchor in"):
        verify(here, given)
    with pytest.raises(Unavailable, match=r"The anchors in .* cannot be read: Is a directory"):
        verify(here, here.settings.root)


def test_an_anchor_from_elsewhere_is_held_against_the_journal(here: House) -> None:
    given = here.settings.root / "elsewhere.jsonl"
    signer = Signer(here.settings.calls_secrets)
    append_line(
        given, signer.checkpoint(gateway="host_g1", segment=3, sequence=31, chain=bytes(32))
    )
    assert verify(here)[0].good
    (proof,) = verify(here, given)
    assert "a checkpoint knows call 31: its end was cut off" in str(proof.faults[0])


def test_secrets_that_are_lost_are_told_and_never_made_anew_by_looking(here: House) -> None:
    secrets = here.settings.calls_secrets
    for name, said in (
        ("signing", "no checkpoint can be checked"),
        ("master", "keys that it has wrapped"),
    ):
        content = (secrets / name).read_bytes()
        (secrets / name).unlink()
        with pytest.raises(Unavailable, match=f"/{name} is gone, and .*{said}"):
            verify(here)
        assert not (secrets / name).exists()
        (secrets / name).write_bytes(content)
    assert erased_in(here) == (0, 0)
