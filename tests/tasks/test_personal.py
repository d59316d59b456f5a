"""What redaction missed is found after the fact, told without its words, and erased on record."""

import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.calls.checkpoints import Signer
from infra.calls.lines import Payload
from infra.calls.vault import Vault
from infra.identity import Identity
from infra.ledger import Ledger
from infra.personal import Finder, Spot
from infra.settings import Settings
from release.errors import Invalid, NotFound, Refused, Unavailable
from serving.journal import JournalWriter
from tasks.calls import ERASED, ERASING, verify
from tasks.personal import INSPECTED, Window, erase_leaks, inspect
from tasks.wiring import House
from tests.fakes.call_lines import a_call
from tests.fakes.journals import AT

ADA = Identity(name="ada", role="admin")
UMA = Identity(name="uma", role="auditor")
ANSWER = [{"label": "ok", "entities": [{"text": "Miller"}]}]


def find(text: str) -> list[Spot]:
    """Find one name, wherever it stands."""
    at = text.find("Miller")
    return [Spot(kind="PERSON", start=at, end=at + 6, score=1.0)] if at >= 0 else []


def write(writer: JournalWriter, vault: Vault, text: str, **more: Any) -> None:
    output = msgspec.Raw(msgspec.json.encode(more.pop("output", [])))
    payload = Payload(input=[text], output=output, salt=os.urandom(16).hex())
    plain = msgspec.json.encode(payload)
    commitment = sha256(plain).hexdigest()
    key, sealed = vault.seal("default", AT, plain, commitment)
    named: dict[str, Any] = {"capture": "redacted", "at": AT, **more}
    line = a_call(writer.sequence + 1, commitment=commitment, key=key, **named)
    writer.write(line, sealed)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    settings = Settings(home=tmp_path)
    made = House(settings=settings, ledger=Ledger.open(settings.ledger))
    vault = Vault(settings.calls_secrets)
    Signer(settings.calls_secrets)  # as a gateway does that starts
    writer = JournalWriter(settings.journal, "host/g1")
    write(writer, vault, "Miller was here, and Miller again")
    write(writer, vault, "nobody was here")
    write(writer, vault, "Miller, in full", capture="full")
    write(writer, vault, "nobody asks", output=ANSWER)
    write(writer, vault, "Miller was here later", at=AT + 100)
    writer.close()
    yield made
    made.ledger.close()


def test_what_is_found_is_told_without_its_words_and_who_looked_is_recorded(here: House) -> None:
    found = inspect(here, UMA, Window(), find)
    assert (found.inspected, found.unread) == (4, 0)
    assert [(one.name, dict(one.kinds)) for one in found.leaks] == [
        ("host_g1/1", {"PERSON": 1}),
        ("host_g1/4", {"PERSON": 1}),
        ("host_g1/5", {"PERSON": 1}),
    ]
    ((_, event),) = here.ledger.events(kinds=(INSPECTED,))
    assert event.sentence == "uma inspected 4 payloads and found 3 that tell of a person"
    assert "Miller" not in str(event.data)
    early = Window(namespace="default", until_us=int((AT + 50) * 1e6))
    assert len(inspect(here, UMA, early, find).leaks) == 2
    with pytest.raises(NotFound, match="no namespace 'shop'"):
        inspect(here, UMA, Window(namespace="shop"), find)
    with pytest.raises(Refused, match="may not read the call record"):
        inspect(here, Identity(name="eve", role="requester"), Window(), find)


def test_what_is_found_is_erased_alone_and_on_record(here: House) -> None:
    leaks = inspect(here, UMA, Window(), find).leaks
    with pytest.raises(Refused, match="may not erase"):
        erase_leaks(here, UMA, leaks, "redaction missed it")
    assert erase_leaks(here, ADA, leaks, "redaction missed it") == 3
    assert erase_leaks(here, ADA, leaks, "redaction missed it") == 0
    again = inspect(here, UMA, Window(), find)
    assert (again.inspected, again.leaks) == (1, [])
    (proof,) = verify(here)
    assert proof.good and (proof.erased, proof.unrecorded) == (3, 0)
    told = [event for _, event in here.ledger.events(kinds=(ERASING, ERASED))]
    assert told[0].data["calls"] == ["host_g1/1", "host_g1/4", "host_g1/5"]
    assert told[1].sentence == "ada erased 3 payloads of default, 3 calls: redaction missed it"


def test_calls_of_a_namespace_that_nobody_made_are_inspected(here: House) -> None:
    writer = JournalWriter(here.settings.journal, "host/g1")
    write(writer, Vault(here.settings.calls_secrets), "Miller left", namespace="gone")
    writer.close()
    found = inspect(here, UMA, Window(), find)
    assert (found.inspected, [one.name for one in found.leaks][-1]) == (5, "host_g1/6")
    assert len(inspect(here, UMA, Window(namespace="gone"), find).leaks) == 1


@pytest.mark.parametrize("least", [2.0, -0.1, float("nan")])
def test_a_score_that_is_none_is_told(least: float) -> None:
    with pytest.raises(Invalid, match=r"A score must be within 0..1, not "):
        Finder(least)


def test_an_erasure_of_some_calls_covers_no_other(here: House) -> None:
    leaks = inspect(here, UMA, Window(), find).leaks
    erase_leaks(here, ADA, leaks[:1], "one of them")
    (path,) = here.settings.journal.glob("*/*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, one in enumerate(lines) if b'"sequence":2,' in one)
    head, _, rest = lines[at].rpartition(b'"sealed":"')
    size = len(rest.split(b'"')[0])
    lines[at] = head + b'"sealed":"' + b"-" * size + b'"}\n'
    path.write_bytes(b"".join(lines))
    (proof,) = verify(here)
    assert (proof.erased, proof.unrecorded) == (2, 1)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(Unavailable, match=r"not installed. \(pip install 'slipway\[presidio\]'\)"):
        Finder()
