import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.processes import free_port
from infra.registry import Picture, Registry
from infra.registry.connection import connect, public
from infra.settings import inherited
from release.errors import Invalid, NotFound, Unavailable
from release.variants import Candidate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One registry for all tests: its tables take seconds to make. Each has models of its own."""
    return tmp_path_factory.mktemp("registry") / "not there yet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model files"
    (made / "tokenizer").mkdir(parents=True)
    (made / "weights.safetensors").write_bytes(b"\x00weights")
    (made / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return made


def _files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_what_was_registered_is_fetched_whole(
    registry: Registry, folder: Path, tmp_path: Path, home: Path
) -> None:
    made = registry.register("round", folder, {"accuracy": "0.9"})
    assert made == Candidate(model="round", version=1)
    into = tmp_path / "fetched" / "round"
    assert registry.fetch(made, into) == into
    assert _files(into) == _files(folder)
    assert [path.name for path in into.parent.iterdir()] == ["round"]
    assert any((home / "artifacts").rglob("weights.safetensors"))
    assert registry.facts(made).items() >= {"accuracy": "0.9"}.items()
    assert registry.facts(made)["run"] and "artifacts" in registry.facts(made)["source"]


def test_a_folder_that_was_fetched_is_not_fetched_again(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    made = registry.register("again", folder)
    into = registry.fetch(made, tmp_path / "here")
    (into / "mark").touch()
    assert (registry.fetch(made, into) / "mark").exists()


def test_a_fetch_that_fails_leaves_nothing(
    registry: Registry, folder: Path, tmp_path: Path, home: Path
) -> None:
    made = registry.register("gone", folder)
    run = registry.facts(made)["run"]
    for path in list((home / "artifacts" / run).rglob("*")):
        if path.is_file():
            path.unlink()
    with pytest.raises(NotFound, match="no folder of files"):
        registry.fetch(made, tmp_path / "new" / "gone")
    shutil.rmtree(home / "artifacts" / run)
    with pytest.raises(NotFound, match="download"):
        registry.fetch(made, tmp_path / "new" / "gone")
    with pytest.raises(NotFound):
        registry.fetch(Candidate(model="gone", version=9), tmp_path / "new" / "gone")
    assert list((tmp_path / "new").iterdir()) == []


def test_candidates_are_found_by_number_or_the_newest(registry: Registry, folder: Path) -> None:
    for _ in range(11):
        registry.register("many", folder)
    # As texts, 9 would come after 11.
    assert registry.candidate("many") == Candidate(model="many", version=11)
    assert registry.candidate("many", 2) == Candidate(model="many", version=2)
    for version in (0, 12):
        with pytest.raises(NotFound, match=f"no version {version}") as missing:
            registry.candidate("many", version)
        assert "1, 2, 3" in missing.value.hint
    with pytest.raises(NotFound, match="'other'") as unknown:
        registry.candidate("other")
    assert "many" in unknown.value.hint
    with pytest.raises(Invalid):
        registry.candidate("many' OR name = 'x")


def test_aliases_point_where_they_are_told_however_often(registry: Registry, folder: Path) -> None:
    for _ in range(2):
        registry.register("pointed", folder)
    assert registry.alias("pointed", "champion") is None
    for version in (1, 2, 2, None, None, 1):
        registry.point("pointed", "champion", version)
        assert registry.alias("pointed", "champion") == version
    with pytest.raises(NotFound):
        registry.point("pointed", "champion", 3)
    with pytest.raises(Invalid, match="reserved"):
        registry.point("pointed", "v1", 1)
    assert registry.alias("pointed", "champion") == 1


def test_tags_are_written_over(registry: Registry, folder: Path) -> None:
    made = registry.register("tagged", folder)
    for value in ("one", "two"):
        registry.tag(made, "slipway.digest", value)
    assert registry.facts(made)["slipway.digest"] == "two"


def test_a_version_can_lose_a_tag(registry: Registry, folder: Path) -> None:
    made = registry.register("untagged", folder, {"slipway.of": "x", "mine": "y"})
    for _ in range(2):
        registry.untag(made, "slipway.of")
        assert registry.tags("untagged") == {1: {"mine": "y"}}
    assert registry.tags("nobody") == {}


def test_a_run_shows_a_release_however_often_it_is_told(
    registry: Registry, home: Path, tmp_path: Path
) -> None:
    run = registry.run_of("told-1-abc")
    assert registry.run_of("told-1-abc") == run != registry.run_of("told-2-abc")
    picture = Picture(
        at=1000.5,
        metrics={"openvino-int8/accuracy": 0.75},
        tags={"slipway.release": "told-1-abc", "long": "x" * 9000},
        pages={"report.md": "# 报告"},
        closed=True,
    )
    for outcome in ("canary", "promoted", "promoted"):
        tags = {**picture.tags, "slipway.outcome": outcome}
        registry.record(run, replace(picture, tags=tags))
    client = connect(f"sqlite:///{home / 'mlflow.db'}")
    found = client.get_run(run)
    assert found.data.metrics == {"openvino-int8/accuracy": 0.75}
    assert found.data.tags["slipway.outcome"] == "promoted"
    assert found.info.status == "FINISHED"
    assert found.info.artifact_uri.startswith((home / "artifacts").as_uri())
    page = client.download_artifacts(run, "report.md", str(tmp_path))
    assert Path(page).read_text(encoding="utf-8") == "# 报告"
    assert registry.address(run) == f"sqlite:///{home / 'mlflow.db'} run {run}"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://slipway:hunter2@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("https://u:p%40@registry/x@y", "https://registry/x@y"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_an_address_holds_no_password(tmp_path: Path, uri: str, shown: str) -> None:
    assert public(uri) == shown
    if not uri.startswith("http"):
        assert Registry(uri, tmp_path).address("abc") == f"{shown} run abc"


USE = """
import sys
from pathlib import Path
from infra.registry import Registry
home, folder = map(Path, sys.argv[1:3])
print("ready", flush=True)
sys.stdin.readline()
registry = Registry(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts")
print(registry.register("shared", folder).version)
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None
"""


def test_several_processes_open_a_fresh_registry_at_once(tmp_path: Path, folder: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    cwd.mkdir()
    command = [sys.executable, "-W", "error", "-c", USE, str(home), str(folder)]
    # A machine that is known to be a test's would be spared the reports anyway.
    env = {name: value for name, value in inherited(PYTHONPATH=str(ROOT)).items() if name != "CI"}
    children = [
        subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=200) for child in children]
    assert [error for _, error in said] == [""] * 3
    assert sorted(version.strip() for version, _ in said) == ["1", "2", "3"]
    assert list(cwd.iterdir()) == []


def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with pytest.raises(Unavailable, match=str(port)) as gone:
        Registry(f"http://slipway:hunter2@127.0.0.1:{port}", tmp_path).candidate("docs")
    assert "hunter2" not in str(gone.value)
