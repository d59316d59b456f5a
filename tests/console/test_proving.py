"""What `slipway calls verify` says of each journal, and how it ends."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from console.calls import MOST_FAULTS, calls
from infra.calls.checkpoints import Signer, append_line
from infra.calls.filed import MOST_TOLD
from infra.calls.vault import Vault
from infra.identity import Identity
from infra.ledger import Ledger
from infra.settings import Settings
from tasks.calls import Erasure, erase
from tasks.wiring import house
from tests.fakes.journals import DAY, a_journal


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "calls").symlink_to(tmp_path / "secrets")
    _, checkpoint = a_journal(tmp_path, monkeypatch)
    ledger = Ledger.open(Settings(home=tmp_path).ledger)
    ledger.anchor(checkpoint)
    ledger.close()
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    house.cache_clear()
    yield tmp_path
    house().ledger.close()
    house.cache_clear()


def said(*arguments: str, code: int = 0) -> list[str]:
    done = CliRunner().invoke(calls, ["verify", *arguments])
    assert done.exit_code == code, done.output
    return done.output.splitlines()


def test_what_is_proven_and_what_was_erased_is_told(home: Path) -> None:
    proven = "  proven up to call 30 by the last anchor; 0 since then"
    assert said() == ["host_g1: calls 1 to 30", proven]
    Vault(home / "secrets").destroy("default", DAY)
    named = ", ".join(map(str, range(1, 21)))
    gone = f"  30 payloads are erased, 30 by nobody on record: calls {named} and 10 more"
    assert said(code=1) == ["host_g1: calls 1 to 30", proven, gone]


def test_an_erasure_that_is_on_record_ends_well_once_it_is_finished(home: Path) -> None:
    path = home / "journal" / "host_g1" / "00000001.jsonl"
    whole = path.read_bytes()
    ada = Identity(name="ada", role="admin")
    erase(house(), ada, Erasure(namespace="default", user="ann", why="she asked"))
    assert said()[2:] == ["  20 payloads are erased, as recorded"]
    # Cut short within a payload.
    begin = whole.index(b'"user":"ann"')
    begin = whole.index(b'"sealed":"', begin) + len(b'"sealed":"')
    path.write_bytes(whole[:begin] + b"-" * 9 + whole[begin + 9 :])
    assert "erased in part" in said(code=1)[-2]
    assert "NOT ERASED: 5 payloads stand" in said(code=1)[-1]


def test_a_missing_journal_and_one_of_another_host_are_told(home: Path) -> None:
    anchors, signer = home / "given.jsonl", Signer(home / "secrets")
    append_line(
        anchors, signer.checkpoint(gateway="web9_g1", segment=1, sequence=5, chain=bytes(32))
    )
    lines = said("--anchors", str(anchors))
    assert lines[2:] == ["web9_g1: anchored by another host, and to be proven there"]
    shutil.rmtree(home / "journal" / "host_g1")
    assert said(code=1) == [
        "host_g1: calls 0 to 0",
        "  NOT PROVEN: segment 3: no segment is there, and a checkpoint knows call 30.",
    ]


def test_not_every_fault_of_many_is_told(home: Path) -> None:
    for path in (home / "journal" / "host_g1").glob("*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b'"status":200', b'"status":500'))
    lines = said(code=1)
    assert len(lines) == 1 + MOST_FAULTS + 1 and lines[-1].startswith("  NOT PROVEN: 1")
    assert lines[-1].endswith(" faults more")


def test_each_line_that_is_no_anchor_is_told_with_what_it_costs(home: Path) -> None:
    given, signer = home / "given.jsonl", Signer(home / "secrets")
    (anchor,) = (one for one in house().ledger.anchors("host_g1"))
    good = msgspec.json.encode(anchor)
    foreign = good.replace(b"host_g1", b"web9_g1")
    broken = good.replace(b'"chain":"', b'"chain":"x')
    given.write_bytes(b"\n".join([foreign, b"", broken, b"x" * 9_000, good[:60], good, b"\r"]))
    lines = said("--anchors", str(given), code=1)
    assert lines[0] == f"{given}: some lines are no anchors"
    assert lines[1].startswith("  line 3: it is no anchor: ")
    assert lines[1].endswith("; line 6 proves all that it did")
    assert lines[2:4] == [
        "  line 4: it is longer than the 4096 bytes of any anchor; NOT PROVEN: what it anchored",
        "  line 5: it was never written to its end; nothing relied on it",
    ]
    assert lines[4:] == [*said(), "web9_g1: anchored by another host, and to be proven there"]
    # What nothing is unproven for is told, and ends well.
    given.write_bytes(b"\n".join([broken, good[:60], good]))
    assert len(said("--anchors", str(given))) == 3 + len(said())
    # The last of a gateway that is broken is missed, and so is one whose gateway nobody knows.
    for bad in (broken.replace(b"host_g1", b"web9_g1"), b'{"sequence": 1}', b"nothing", b"\xff"):
        given.write_bytes(b"\n".join([good, foreign, bad, good]))
        told = said("--anchors", str(given), code=1)
        assert told[1].startswith("  line 3: it is no") and "NOT PROVEN" in told[1]
    bogus = signer.checkpoint(gateway="host_g1", segment=1, sequence=5, chain=bytes(32))
    given.write_bytes(good + b"\n" + msgspec.json.encode(bogus).replace(b'":5', b'":6'))
    told = said("--anchors", str(given), code=1)
    where = f"the anchor in line 2 of {given}"
    assert f"{where} is no checkpoint that was signed with this key." in told[1]


def test_not_every_bad_line_of_many_is_told(home: Path) -> None:
    given = home / "given.jsonl"
    (anchor,) = (one for one in house().ledger.anchors("host_g1"))
    given.write_bytes(b"bad\n" * 1_000 + msgspec.json.encode(anchor))
    lines = said("--anchors", str(given), code=1)
    assert len(lines) == 1 + MOST_TOLD + 1 + len(said())
    assert lines[MOST_TOLD + 1] == f"  {1_000 - MOST_TOLD} lines more are no anchors"


def test_bad_lines_of_the_file_that_settings_name_are_told_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = home / "kept.jsonl"
    monkeypatch.setenv("SLIPWAY_ANCHORS", str(kept))
    house().ledger.close()
    house.cache_clear()
    before = said()  # it is made with its first anchor
    kept.write_text("bad\n")
    told = said(code=1)
    assert told[:2] == [
        f"{kept}: some lines are no anchors",
        "  line 1: it is no JSON; NOT PROVEN: what it anchored",
    ]
    assert told[2:] == before
