"""A release is found by its id or its model; what is not found is said for what it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.ledger import Ledger
from infra.settings import Settings
from release.errors import NotFound
from tasks.sight import find
from tasks.wiring import House
from tests.fakes.ready_model import make_ready_model


@pytest.fixture
def here(tmp_path: Path) -> Iterator[House]:
    settings = Settings(home=tmp_path / "home")
    made = House(settings=settings, ledger=Ledger.open(settings.ledger))
    made.registry.register("fresh", make_ready_model(tmp_path / "files"))
    yield made
    made.ledger.close()


@pytest.mark.parametrize("newest", [True, False])
def test_a_model_without_a_release_is_told_from_none(here: House, *, newest: bool) -> None:
    with pytest.raises(NotFound, match=r"fresh is registered, and has no .*slipway release fresh"):
        find(here, "fresh", newest=newest)
    for name in ("stale", "No Name"):
        with pytest.raises(NotFound, match=f"No release is called '{name}'"):
            find(here, name, newest=newest)


def test_a_registry_that_is_silent_changes_nothing(here: House) -> None:
    settings = Settings(home=here.settings.home, registry_uri="http://127.0.0.1:1")
    with pytest.raises(NotFound, match="No release is called 'fresh'"):
        find(House(settings=settings, ledger=here.ledger), "fresh")
