import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.settings import inherited
from release.variants import Variant
from tests.serving.tier import Tier

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tiny:
    """Tiny variants, built once for all tests."""

    root: Path
    facts: dict[str, Any]

    def variant(self, version: int, recipe: str = "openvino-int8") -> Variant:
        return Variant.from_json(self.facts["built"][f"{version}/{recipe}"]["variant"])

    def folder(self, variant: Variant) -> Path:
        return self.root / "store" / "sha256" / variant.digest.removeprefix("sha256:")


def build_apart(module: str, root: Path) -> None:
    """Build in a process of its own, for what torch and nncf leave behind in one."""
    done = subprocess.run(
        [sys.executable, "-m", module, str(root)],
        cwd=ROOT,
        env=inherited(PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    root = tmp_path_factory.mktemp("tiny")
    build_apart("tests.fakes.tiny_store", root)
    return Tiny(root, json.loads((root / "built.json").read_text()))


@pytest.fixture
def tier(tiny: Tiny, tmp_path: Path) -> Iterator[Tier]:
    """A gateway and replicas, real processes; stopped at the end."""
    running = Tier(folder=tmp_path, locate=tiny.folder)
    yield running
    running.stop()


Located = Callable[[Variant], Path]
