from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra import postgres

FAULTS = Path(__file__).parent / "faults"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the URL of a PostgreSQL server of our own, without a database's name."""
    postgres.skip_without()
    with postgres.server() as url:
        yield url


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the slow proofs out, unless they are asked for by name: see `make test-faults`."""
    named = (Path(one.partition("::")[0]).resolve() for one in config.args)
    asked = any(one.is_relative_to(FAULTS) for one in named)
    return True if collection_path == FAULTS and not asked else None
