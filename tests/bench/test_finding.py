from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.calls.indexing import Indexer
from infra.calls.query import Query
from infra.calls.sqlite import CallStore
from infra.calls.vault import Vault
from tests.bench import __main__ as bench
from tests.bench import calls, finding, shared
from tests.bench.figures import Figure
from tests.infra import postgres


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(finding, "ROOT", tmp_path)
    for name, value in (("CALLS", 4_000), ("BATCH", 1_500), ("FOLDED", 300), ("ASKED", 2)):
        monkeypatch.setattr(finding, name, value)


def test_searches_are_timed_by_kind_and_within_an_hour() -> None:
    found = list(finding.searching())
    names = ["id", "text", "two-characters"]
    wanted = [f"calls.search.{name}{where}" for name in names for where in ("", ".hour")]
    assert [one.id for one in found] == wanted
    assert [one.goal for one in found] == [20, 20, 200, 200, 500, 500]
    assert all(one.value is not None and one.value > 0 for one in found)


def test_the_shared_store_is_timed_alike() -> None:
    postgres.skip_without()
    folding, *found = shared.sharing()
    names = ["id", "text", "two-characters"]
    wanted = [f"calls.shared.{name}{where}" for name in names for where in ("", ".hour")]
    assert [one.id for one in found] == wanted
    assert folding.value is not None and folding.value > 0


def test_what_is_searched_for_is_there() -> None:
    store = CallStore(finding._million())
    assert [hit.line.id for hit in store.page(Query(text="order-3999"))] == ["r3999"]
    (hit,) = store.page(Query(text="order-3999", namespace="default", arm="champion"))
    since = hit.line.at_us
    hour: dict[str, Any] = {"since_us": since, "until_us": since + finding.HOUR_US}
    assert len(store.page(Query(text="the", user="user-999", **hour))) == 1
    assert store.page(Query(text="没有")) == []
    store.close()


def test_what_is_folded_is_sealed_and_all_of_it_can_be_opened(tmp_path: Path) -> None:
    assert finding._journal(tmp_path) > 300 * 700
    store = CallStore(tmp_path / "calls.db")
    indexer = Indexer(tmp_path / "journal", store, Vault(tmp_path / "secrets"))
    assert indexer.fold() == 300 and indexer.unreadable == 0
    (hit,) = store.page(Query(text="order-299"))
    assert hit.line.capture == "full" and hit.line.commitment
    store.close()


def test_a_row_of_calls_that_breaks_off_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = Figure(id="calls.good", what="of a test", value=1.0, better="higher")

    def broken() -> Iterator[Figure]:
        raise RuntimeError("no core is free")

    monkeypatch.setattr(calls, "ROWS", {"bad": broken, "good": lambda: iter([good])})
    bad, kept = calls.figures(("bad", "good"))
    assert kept == good and bad.value is None and "no core is free" in bad.what
    monkeypatch.setattr(bench, "OUT", tmp_path / "bench.json")
    monkeypatch.setattr(bench, "ROWS", {"calls": calls.ROWS})
    assert bench.main(["--only", "calls", "--row", "good"]) == 0
    assert "calls.good" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        bench.main(["--only", "journey", "--row", "good"])
