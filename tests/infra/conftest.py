from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from infra.ledger import Ledger
from tests.infra import postgres

_numbers = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database that does not exist yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'ledger.db'}"
    server = request.getfixturevalue("postgres_server")
    return postgres.create_database(server, f"ledger_{next(_numbers)}")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger.open(url)
    yield opened
    opened.close()
