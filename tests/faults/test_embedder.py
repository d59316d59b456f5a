"""A model that gives vectors, from a table of pairs to a client of OpenAI's shape, by command."""

import csv
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.settings import inherited
from tests.serving.tier import until
from tests.system.home import ROOT, Home

WORDS = [str(number) for number in range(100)]
MAKE = "from pathlib import Path; from tests.fakes.tiny_families import make_family; "
MAKE += "make_family(Path({!r}), 'bert-mean')"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    made.people()
    made.slipway("up", "-d")
    yield made
    made.slipway("down")
    assert made.processes() == []
    made.house.ledger.close()


def pairs(path: Path, count: int = 240) -> Path:
    """Write pairs of texts; how alike they are is the part of their words that they share."""
    chance = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "other", "similarity"))
        for _ in range(count):
            words, shared = chance.sample(WORDS, 12), chance.randint(0, 6)
            other = words[:shared] + words[6 : 12 - shared]
            writer.writerow((" ".join(words[:6]), " ".join(other), shared / 6))
    return path


def test_an_embedder_is_judged_released_and_asked(home: Home, tmp_path: Path) -> None:
    files = tmp_path / "embedder"
    command = [sys.executable, "-W", "ignore", "-c", MAKE.format(str(files))]
    subprocess.run(command, cwd=ROOT, env=inherited(), check=True, capture_output=True)
    suite = tmp_path / "suite"
    table = str(pairs(tmp_path / "pairs.csv"))
    home.slipway("suite", table, str(suite), "--task", "feature-extraction")
    said = home.slipway("register", "embedder", str(files)).stdout
    assert "feature-extraction" in said
    home.slipway("policy", "embedder", "--suite", str(suite), "--spearman", "0.2")
    release = home.slipway("release", "embedder", who="rita").stdout.split()[0]
    home.slipway("approve", release, "--why", "alike is alike", who="max")
    until(lambda: home.house.ledger.release(release).phase.closed, 90)
    assert home.house.ledger.release(release).phase == "promoted"
    url = str(home.json("status")["parts"]["gateway"].split()[0])
    asked = {"model": "embedder", "input": ["1 2 3", "4 5"]}
    answer = httpx.post(f"{url}/v1/embeddings", json=asked).json()
    assert [len(one["embedding"]) for one in answer["data"]] == [32, 32]
    page = home.slipway("report", release).stdout.split()[-1]
    assert "Spearman" in Path(page).read_text(encoding="utf-8")
