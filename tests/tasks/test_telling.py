"""What people see of a release follows the ledger, and nothing else is believed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest

from infra.identity import Identity
from infra.ledger import Change, Ledger
from infra.registry import Picture, Registry
from infra.registry.connection import connect
from infra.settings import Settings
from release.releases import Phase, Release
from release.variants import Candidate
from tasks.desk import roll_back
from tasks.images import repair
from tasks.telling import is_told, read_dossier, record, version_tags
from tasks.trainings import TRAINED
from tasks.wiring import House
from tests.fakes.dossier import LINEAGE
from tests.fakes.nouns import a_report, variant
from tests.infra.world import MODEL, an_event, claimed, closed, opened

OURS = Candidate(model=MODEL, version=2)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    settings = Settings(home=tmp_path / "home")
    settings.root.mkdir()
    made = House(settings=settings, ledger=Ledger.open(settings.ledger), clock=lambda: 1000.0)
    files = tmp_path / "files"
    files.mkdir()
    (files / "config.json").write_text("{}")
    for _ in range(2):
        made.registry.register(MODEL, files, {"mine": "kept"})
    yield made
    made.ledger.close()


def rejected(here: House) -> Release:
    release = opened(here.ledger)
    here.ledger.add_report(release.id, a_report(0.4, low=0.3, high=0.5))
    return closed(here.ledger, release)


def test_nothing_is_repaired_where_all_is_told(here: House) -> None:
    release = rejected(here)
    assert any("was told of" in said for said in repair(here, MODEL))
    assert repair(here, MODEL) == []
    tags = here.registry.tags(MODEL)
    assert tags[2] == {"mine": "kept", **version_tags(here, release)}
    assert tags[2]["slipway.outcome"] == "rejected"
    assert tags[1] == {"mine": "kept"}
    run = connect(here.settings.registry).get_run(tags[2]["slipway.run"])
    assert run.data.tags["slipway.release"] == release.id
    assert run.data.metrics["openvino-int8/accuracy"] == 0.4
    page = here.settings.page(release.id).read_text(encoding="utf-8")
    assert run.info.run_id in page


def test_a_release_under_way_is_not_told_of_by_the_reconciler(here: House) -> None:
    opened(here.ledger)
    assert repair(here, MODEL) == []
    assert "slipway.release" not in here.registry.tags(MODEL)[2]


def test_the_tags_of_a_copied_version_are_not_believed(here: House) -> None:
    release = rejected(here)
    record(here, release)
    client = connect(here.settings.registry)
    copied = client.copy_model_version(f"models:/{MODEL}/2", MODEL)
    version = int(copied.version)
    assert here.registry.tags(MODEL)[version]["slipway.verdict"] == "pass"
    said = repair(here, MODEL)
    assert f"tag slipway.of of {MODEL}@{version}, unknown to the ledger, was removed" in said
    assert here.registry.tags(MODEL)[version] == {"mine": "kept"}
    assert here.registry.tags(MODEL)[2] == {"mine": "kept", **version_tags(here, release)}


@pytest.mark.parametrize("name", ["slipway.verdict", "slipway.digest", "slipway.outcome"])
def test_a_forged_tag_is_put_right(here: House, name: str) -> None:
    release = rejected(here)
    record(here, release)
    honest = here.registry.tags(MODEL)[2]
    here.registry.tag(OURS, name, "forged")
    assert repair(here, MODEL)
    assert here.registry.tags(MODEL)[2] == honest


def test_where_a_version_comes_from_is_the_ledger_s_word(here: House) -> None:
    tags = LINEAGE.tags()
    data = {"version": 2, "lineage": LINEAGE.as_json(), "training": LINEAGE.training}
    here.ledger.note(replace(an_event(TRAINED), data=data))
    here.registry.tag(OURS, "slipway.data", "forged")
    here.registry.tag(replace(OURS, version=1), "slipway.data", tags["slipway.data"])
    said = repair(here, MODEL)
    assert f"tag slipway.data of {MODEL}@2 was put right" in said
    assert f"tag slipway.data of {MODEL}@1, unknown to the ledger, was removed" in said
    assert here.registry.tags(MODEL) == {1: {"mine": "kept"}, 2: {"mine": "kept", **tags}}
    assert repair(here, MODEL) == []


def test_two_tellers_at_once_leave_one_run_in_the_ledger(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find no run, and both open one; the ledger settles which is the release's."""
    release = rejected(here)
    both, made = Barrier(2), Registry.run_of

    def late(registry: Registry, release_id: str) -> str:
        both.wait(20)
        run = made(registry, release_id)
        both.wait(20)
        return run

    monkeypatch.setattr(Registry, "run_of", late)
    with ThreadPoolExecutor(2) as pool:
        tellers = [pool.submit(record, replace(here, owner=who), release) for who in ("a", "b")]
        for one in tellers:
            one.result(60)
    events = [event for _, event in here.ledger.events(release.id) if event.kind == "recorded"]
    assert len(events) == 1
    assert here.registry.tags(MODEL)[2]["slipway.run"] == events[0].data["run"]


def test_a_run_that_was_deleted_is_made_anew(here: House) -> None:
    release = rejected(here)
    record(here, release)
    client, lost = connect(here.settings.registry), here.registry.tags(MODEL)[2]["slipway.run"]
    client.delete_run(lost)
    here.registry.tag(OURS, "slipway.outcome", "forged")
    assert repair(here, MODEL)
    found = here.registry.tags(MODEL)[2]["slipway.run"]
    assert found != lost
    assert client.get_run(found).data.tags["slipway.release"] == release.id
    assert repair(here, MODEL) == []


def test_what_happens_while_it_is_told_is_told_once_more(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = rejected(here)
    drawn = Registry.record

    def meanwhile(registry: Registry, run: str, picture: Picture) -> None:
        monkeypatch.setattr(Registry, "record", drawn)
        here.ledger.note(an_event("late", release=release.id))
        drawn(registry, run, picture)

    monkeypatch.setattr(Registry, "record", meanwhile)
    record(here, release)
    assert not is_told(here, release)
    assert "it was late" not in here.settings.page(release.id).read_text(encoding="utf-8")
    assert repair(here, MODEL)
    assert is_told(here, release)
    assert "it was late" in here.settings.page(release.id).read_text(encoding="utf-8")


def test_aliases_move_though_a_picture_cannot_be_made(
    here: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = rejected(here)
    claim, before = claimed(here.ledger), here.ledger.desired(MODEL)
    moved = replace(before, champion=variant(1))
    here.ledger.commit(claim, Change(desired=moved, expected=before.generation), 100.0)
    here.settings.page(release.id).parent.write_text("no folder can be made here")
    with pytest.raises(OSError, match="reports"):
        repair(here, MODEL)
    assert here.registry.alias(MODEL, "champion") == 1
    told = [event for _, event in here.ledger.events(model=MODEL) if event.kind == "image"]
    assert "alias champion" in told[0].sentence


def test_what_happens_later_is_told_later(here: House) -> None:
    release = opened(here.ledger)
    waiting = replace(release, phase=Phase.AWAITING_APPROVAL)
    record(here, waiting)
    before = here.registry.tags(MODEL)[2]
    closed(here.ledger, release)
    assert repair(here, MODEL)
    after = here.registry.tags(MODEL)[2]
    assert (before["slipway.outcome"], after["slipway.outcome"]) == ("preparing", "rejected")
    assert before["slipway.run"] == after["slipway.run"]


def test_what_was_put_back_later_is_told_of_the_release(here: House) -> None:
    """It stays promoted, for that is how it ended; but nobody reads that it is still served."""
    release = closed(here.ledger, opened(here.ledger), Phase.PROMOTED)
    claim, before = claimed(here.ledger), here.ledger.desired(MODEL)
    moved = replace(before, champion=variant(2), previous=variant(1))
    here.ledger.commit(claim, Change(desired=moved, expected=before.generation), 100.0)
    here.ledger.yield_claim(claim)
    repair(here, MODEL)
    assert is_told(here, release)
    assert read_dossier(here, release.id).since is None
    roll_back(here, MODEL, Identity(name="max", role="release-manager"), "too slow")
    assert not is_told(here, release)
    assert any("was told of" in said for said in repair(here, MODEL))
    assert is_told(here, release)
    page = here.settings.page(release.id).read_text(encoding="utf-8")
    assert "Since then" in page
    assert f"max rolled back {MODEL}@2/openvino-int8 (too slow)" in page
    older = closed(here.ledger, opened(here.ledger, version=1), Phase.PROMOTED)
    assert read_dossier(here, older.id).since is None
