"""A house with a call record, as its readers find it."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from infra.calls.lines import Payload
from infra.calls.vault import Vault
from infra.identity import Identity
from infra.ledger import Ledger
from infra.settings import Settings
from serving.journal import JournalWriter
from tasks.wiring import House
from tests.fakes.call_lines import a_call

AUDITOR = Identity(name="uma", role="auditor")
ADA = Identity(name="ada", role="admin")
AT = 1_790_000_000.0


class Journal:
    """A gateway's journal with sealed payloads."""

    def __init__(self, settings: Settings) -> None:
        self._vault = Vault(settings.calls_secrets)
        self._writer = JournalWriter(settings.journal, "host/g1")

    def write(self, text: str, label: str, answered: str = "", **more: Any) -> None:
        """Write a call; `answered` is the digest of what answered it."""
        number = self._writer.sequence + 1
        output = msgspec.json.encode({"label": label, "score": 0.9})
        payload = Payload(input=[text], output=msgspec.Raw(output), salt="00" * 16)
        plain = msgspec.json.encode(payload)
        commitment = sha256(plain).hexdigest()
        key, sealed = self._vault.seal("default", AT, plain, commitment)
        named = {"at": AT, "capture": "full", "commitment": commitment, "key": key, **more}
        line = a_call(number, **named)
        self._writer.write(msgspec.structs.replace(line, digest=answered), sealed)

    def alter(self, old: bytes, new: bytes) -> None:
        """Change bytes of the first segment where they stand."""
        path = self._writer.place / "00000001.jsonl"
        content = path.read_bytes()
        if len(old) != len(new) or old not in content:
            raise ValueError(f"{old!r} cannot be made {new!r} in {path}")
        path.write_bytes(content.replace(old, new, 1))

    def alter_payload(self, number: int) -> None:
        """Change a byte of a call's sealed payload, the first call being 0."""
        path = self._writer.place / "00000001.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        calls = [at for at, line in enumerate(lines) if line.startswith(b'{"call"')]
        line = bytearray(lines[calls[number]])
        line[-20] = ord("A") if line[-20] != ord("A") else ord("B")
        lines[calls[number]] = bytes(line)
        path.write_bytes(b"".join(lines))


@contextmanager
def a_house(root: Path) -> Iterator[House]:
    """Open a house some days after its calls."""
    settings = Settings(home=root)
    ledger = Ledger.open(settings.ledger)
    yield House(settings=settings, ledger=ledger, clock=lambda: AT + 3 * 86_400)
    ledger.close()
