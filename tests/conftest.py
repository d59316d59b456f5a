from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FAULTS = TESTS / "faults"
PROCESSES = ("faults", "serving", "system")
"""Folders of tests that start whole processes."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the slow proofs out, unless they are asked for by name: see `make test-faults`."""
    named = (Path(one.partition("::")[0]).resolve() for one in config.args)
    asked = any(one.is_relative_to(FAULTS) for one in named)
    return True if collection_path == FAULTS and not asked else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those that start processes and look at the clock run one after the other.

    With `-n 2` the others run beside them, each file in one process.
    """
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        name = "processes" if folder in PROCESSES else str(item.path)
        item.add_marker(pytest.mark.xdist_group(name))
