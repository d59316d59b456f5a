"""Payloads are sealed for their line alone, and opened only as they were sealed."""

import shutil
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from infra.calls.lines import Payload
from infra.calls.vault import Changed, Vault
from release.errors import Invalid, Unavailable
from tests.fakes.call_lines import a_call

DAY = 86_400.0


def sealed(vault: Vault, text: str = "x", at: float = DAY) -> tuple[str, str, str]:
    plain = msgspec.json.encode(Payload(input=[text], output=msgspec.Raw(b"1"), salt="s"))
    commitment = sha256(plain).hexdigest()
    key, found = vault.seal("default", at, plain, commitment)
    return commitment, key, found.decode()


def test_another_process_opens_what_was_sealed(tmp_path: Path) -> None:
    commitment, key, found = sealed(Vault(tmp_path))
    assert key == "default/1970-01-02"
    line = a_call(1, commitment=commitment, key=key)
    payload = Vault(tmp_path).open(line, found)
    assert payload is not None and payload.input == ["x"]
    other, _, _ = sealed(Vault(tmp_path), "y")
    with pytest.raises(Changed):
        Vault(tmp_path).open(a_call(1, commitment=other, key=key), found)


@pytest.mark.parametrize("text", ["", "x", "xx", "xxx"])
def test_no_other_spelling_of_a_payload_is_taken_for_it(tmp_path: Path, text: str) -> None:
    vault = Vault(tmp_path)
    commitment, key, found = sealed(vault, text)
    line = a_call(1, commitment=commitment, key=key)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(found.rstrip("=")) - 1
    for one in alphabet:
        other = found[:last] + one + found[last + 1 :]
        if other != found:
            with pytest.raises(Changed):
                vault.open(line, other)


def test_a_destroyed_key_opens_and_seals_nothing_also_in_another_process(tmp_path: Path) -> None:
    before, other = Vault(tmp_path), Vault(tmp_path)
    commitment, key, found = sealed(before)
    line = a_call(1, commitment=commitment, key=key)
    assert other.open(line, found) is not None
    assert before.destroy("default", "1970-01-02")
    assert not before.destroy("default", "1970-01-02")
    assert other.open(line, found) is None
    with pytest.raises(Invalid, match="was destroyed"):
        sealed(Vault(tmp_path))
    assert sealed(Vault(tmp_path), at=2 * DAY)[1] == "default/1970-01-03"


def test_a_master_key_of_another_house_is_told(tmp_path: Path) -> None:
    commitment, key, found = sealed(Vault(tmp_path))
    (tmp_path / "master").write_bytes(b"k" * 32)
    with pytest.raises(Invalid, match="cannot be unwrapped"):
        Vault(tmp_path).open(a_call(1, commitment=commitment, key=key), found)


def test_a_master_key_that_was_lost_is_not_made_anew(tmp_path: Path) -> None:
    commitment, key, found = sealed(Vault(tmp_path))
    master = (tmp_path / "master").read_bytes()
    (tmp_path / "master").unlink()
    said = "master is gone, and payloads are sealed with keys that it has wrapped. .put it back"
    for use in (
        lambda: sealed(Vault(tmp_path), at=2 * DAY),
        lambda: Vault(tmp_path).open(a_call(1, commitment=commitment, key=key), found),
    ):
        with pytest.raises(Unavailable, match=said):
            use()
    assert not (tmp_path / "master").exists()
    (tmp_path / "master").write_bytes(master)
    assert sealed(Vault(tmp_path), at=2 * DAY)[1] == "default/1970-01-03"
    for day in ("1970-01-02", "1970-01-03"):
        Vault(tmp_path).destroy("default", day)
    (tmp_path / "master").unlink()
    assert sealed(Vault(tmp_path), at=3 * DAY), "nothing is lost with it any more"


def test_calls_of_two_days_are_sealed_by_turns_and_older_keys_are_let_go(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    assert not vault.begun("default", 2 * DAY)
    vault.begin("default", 2 * DAY)
    vault.begin("other", 2 * DAY)
    assert vault.begun("default", 2 * DAY)
    vault.begin("default", 3 * DAY)
    # One that came before midnight and is answered after it.
    assert vault.begun("default", 2 * DAY) and vault.begun("default", 3 * DAY)
    vault.begin("default", 6 * DAY)
    assert [vault.begun("default", day * DAY) for day in (2, 3, 6)] == [False, False, True]
    assert vault.begun("other", 2 * DAY)


def test_a_days_key_that_was_lost_is_not_made_anew(tmp_path: Path) -> None:
    secrets, journals = tmp_path / "secrets", tmp_path / "journal"
    _, key, _ = sealed(Vault(secrets, journals))
    _, same, _ = sealed(Vault(secrets, journals))
    assert key == same and (journals / "keys").read_text() == f"{key}\n"
    lost = secrets / "days" / key
    lost.unlink()
    with pytest.raises(Unavailable, match="1970-01-02 is gone, and default/1970-01-02 has sealed"):
        sealed(Vault(secrets, journals))
    shutil.rmtree(secrets)
    with pytest.raises(
        Unavailable, match="master is gone, and payloads are sealed with keys that it"
    ):
        sealed(Vault(secrets, journals))
