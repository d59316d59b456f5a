"""Payloads are erased by right and on record, and the journal is proven all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.calls.checkpoints import Checkpoint
from infra.calls.vault import Vault
from infra.calls.verify import segments_in
from infra.identity import Identity
from infra.ledger import Ledger
from infra.settings import Settings
from release.errors import Conflict, Invalid, NotFound, Refused
from serving.agent import anchoring
from serving.agent.anchoring import Anchoring
from serving.journal import JournalWriter
from tasks.calls import ERASED, ERASING, Erasure, erase, verify
from tasks.wiring import House
from tests.fakes.journals import AT, DAY, a_journal, write_call

ADA = Identity(name="ada", role="admin")
LATER = AT + 2 * 86_400


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    settings = Settings(home=tmp_path, anchors=tmp_path / "anchors.jsonl")
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


def test_a_days_payloads_are_erased_with_its_key(here: House) -> None:
    assert len(erase(here, ADA, Erasure(namespace="default", day=DAY, why="old"))) == 30
    assert erased_in(here) == (30, 0)
    with pytest.raises(NotFound, match="has no payloads of 2026-09-21"):
        erase(here, ADA, Erasure(namespace="default", day=DAY, why="old"))


def test_a_payload_that_vanished_without_a_record_is_told(here: House) -> None:
    Vault(here.settings.calls_secrets).destroy("default", DAY)
    assert erased_in(here) == (30, 30)


def test_who_may_erase_and_what(here: House) -> None:
    eve = Identity(name="eve", role="release-manager")
    with pytest.raises(Refused, match="eve is release-manager and may not erase"):
        erase(here, eve, Erasure(namespace="default", user="bob", why="x"))
    with pytest.raises(Invalid, match="a day or a user"):
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
    filed = here.settings.anchors
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
