"""What `slipway calls verify` says of each journal, and how it ends."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from console.calls import MOST_FAULTS, calls
from infra.calls.checkpoints import Signer, append_line
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
