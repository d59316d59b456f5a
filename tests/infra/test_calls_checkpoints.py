"""Checkpoints are written whole or not at all, read past what was torn, and pruned."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.calls import checkpoints
from infra.calls.checkpoints import FILE, Checkpoint, Signer, append, newest, prune, read
from infra.calls.proofs import Known
from infra.calls.vault import Vault
from infra.calls.verify import beside, prove, segments_in
from release.errors import Unavailable
from serving.journal import JournalWriter
from tests.fakes.journals import a_journal, signed, write_call


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of ours grow beyond this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path / "secrets")


def a_checkpoint(signer: Signer, number: int, segment: int = 1) -> Checkpoint:
    return signer.checkpoint(
        gateway="host_g1", segment=segment, sequence=number, chain=number.to_bytes(32)
    )


def found_in(place: Path) -> list[int | None]:
    return [one.sequence if one else None for _, one in read(place / FILE)]


def test_a_file_of_checkpoints_has_its_name_on_the_disk_once_it_is_begun(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    append(tmp_path, a_checkpoint(signer, 1))
    assert len(synced) == 1
    append(tmp_path, a_checkpoint(signer, 2))
    assert len(synced) == 1


def test_what_finds_no_room_leaves_nothing_behind(tmp_path: Path, signer: Signer) -> None:
    append(tmp_path, a_checkpoint(signer, 1))
    size = (tmp_path / FILE).stat().st_size
    with room_for(size + 100), pytest.raises(OSError, match="No space"):
        append(tmp_path, a_checkpoint(signer, 2))
    assert (tmp_path / FILE).stat().st_size == size
    append(tmp_path, a_checkpoint(signer, 3))
    assert found_in(tmp_path) == [1, 3]


@pytest.mark.parametrize("torn", [b'{"at_us":17', b'{"at', b"\0" * 300, b'{"at_us":1\0\0\0'])
def test_what_a_power_loss_tore_is_passed_over(tmp_path: Path, signer: Signer, torn: bytes) -> None:
    append(tmp_path, a_checkpoint(signer, 1))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"\n" + torn)
    assert found_in(tmp_path) == [1]
    found = newest(tmp_path)
    assert found is not None and found.sequence == 1
    append(tmp_path, a_checkpoint(signer, 2))
    assert found_in(tmp_path) == [1, 2]


def test_a_line_that_nobody_tears_like_this_is_told(tmp_path: Path, signer: Signer) -> None:
    append(tmp_path, a_checkpoint(signer, 1))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.replace(b'"chain"', b'"chian"') + b"x" * 5_000)
    assert found_in(tmp_path) == [None, None]


def test_a_torn_file_of_checkpoints_proves_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = a_journal(tmp_path, monkeypatch)
    with (place / FILE).open("ab") as file:
        file.write(b'\n{"at_us":1790000000000000,"cha')
    public = Signer(tmp_path / "secrets").public
    found = prove(place.name, segments_in(place), Known(beside=beside(place), public=public))
    assert found.faults == [] and found.signed == 30


def test_the_newest_of_each_segment_that_is_there_is_kept(tmp_path: Path, signer: Signer) -> None:
    for segment in (2, 3):
        (tmp_path / f"0000000{segment}.jsonl").touch()
    for number in range(1, 10):
        append(tmp_path, a_checkpoint(signer, number, segment=1 + (number - 1) // 3))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\n{"at_us":1')
    prune(tmp_path)
    assert found_in(tmp_path) == [6, 9]
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 2
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_the_file_stays_small_however_long_a_gateway_runs(
    tmp_path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _file: None)
    monkeypatch.setattr(checkpoints, "PRUNE_BYTES", 10_000)
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    vault = Vault(tmp_path / "secrets")
    largest = 0
    for _ in range(100):
        write_call(writer, vault)
        signed(writer, signer)
        largest = max(largest, (writer.place / FILE).stat().st_size)
    writer.close()
    assert largest < 11_000
    public = signer.public
    told = Known(beside=beside(writer.place), public=public)
    found = prove("host_g1", segments_in(writer.place), told)
    assert found.faults == [] and found.signed == 100


def test_a_lost_signing_key_is_not_replaced_where_it_has_signed(tmp_path: Path) -> None:
    secrets, journals = tmp_path / "secrets", tmp_path / "journal"
    before = Signer(secrets, journals).public
    (secrets / "signing").unlink()
    assert Signer(secrets, journals).public != before, "it had signed nothing yet"
    (journals / "host_g1").mkdir(parents=True)
    append(journals / "host_g1", a_checkpoint(Signer(secrets, journals), 1))
    (secrets / "signing").unlink()
    with pytest.raises(Unavailable, match="signing is gone, and it has signed what lies in"):
        Signer(secrets, journals)
    assert not (secrets / "signing").exists()
