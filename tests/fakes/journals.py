"""A journal with sealed payloads, as gateways leave one."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from infra.calls.checkpoints import Checkpoint, Signer, append
from infra.calls.lines import Payload
from infra.calls.vault import Vault
from serving import journal
from serving.journal import JournalWriter
from serving.keeping import Keeper
from tests.fakes.call_lines import a_call

AT = 1_790_000_000.0
DAY = "2026-09-21"


def write_call(
    writer: JournalWriter,
    vault: Vault,
    *,
    user: str = "ann",
    caller: str = "",
    at: float = AT,
    namespace: str = "default",
) -> None:
    """Write a call with a payload."""
    number = writer.sequence + 1
    salt = os.urandom(16).hex()
    payload = Payload(input=[f"text {number}"], output=msgspec.Raw(b"[]"), salt=salt)
    plain = msgspec.json.encode(payload)
    commitment = sha256(plain).hexdigest()
    key, sealed = vault.seal(namespace, at, plain, commitment)
    named = {"commitment": commitment, "key": key, "user": user, "namespace": namespace}
    named["caller"] = caller
    writer.write(a_call(number, at=at, digest="sha256:a", capture="full", **named), sealed)


def signed(writer: JournalWriter, signer: Signer) -> Checkpoint:
    """Sign how far a journal has come, beside it."""
    mark = writer.mark()
    found = signer.checkpoint(
        gateway=writer.place.name, segment=mark.segment, sequence=mark.sequence, chain=mark.chain
    )
    append(writer.place, found)
    return found


def a_journal(
    root: Path, monkeypatch: pytest.MonkeyPatch, calls: int = 30, each: int = 10
) -> tuple[Path, Checkpoint]:
    """Lay a journal of several segments, with windows and a last checkpoint at its very end."""
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 1)
    vault, signer = Vault(root / "secrets"), Signer(root / "secrets")
    writer = JournalWriter(root / "journal", "host/g1")
    for number in range(calls):
        write_call(writer, vault, user="ann" if number % 3 else "bob")
        if number % each == each - 1 and number < calls - 1:
            signed(writer, signer)
            writer.close_window()
    checkpoint = signed(writer, signer)
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 2**30)
    for mark in writer.marks():
        os.close(mark.file)
    return writer.place, checkpoint


async def end(keeper: Keeper, running: asyncio.Task[None]) -> None:
    """End a keeper that runs, as a gateway does."""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await keeper.close()
