from pathlib import Path

import pytest

FAULTS = Path(__file__).parent / "faults"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the slow proofs out, unless they are asked for by name: see `make test-faults`."""
    named = (Path(one.partition("::")[0]).resolve() for one in config.args)
    asked = any(one.is_relative_to(FAULTS) for one in named)
    return True if collection_path == FAULTS and not asked else None
