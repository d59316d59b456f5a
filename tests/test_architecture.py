"""Rules about the shape of the code itself."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["release", "infra", "serving", "evaluation", "tasks", "flows", "console"]


def modules(*packages: str) -> Iterator[Path]:
    for package in packages or PACKAGES:
        found = (ROOT / package).rglob("*.py")
        # What `make protocols` generates is nobody's prose.
        yield from (path for path in found if not path.name.endswith("_pb2.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_dependency_shadows_our_packages(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT), f"{package!r} was taken over by {spec.origin}"


def test_every_module_is_short() -> None:
    limit = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["house"]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in [*modules(), *(ROOT / "examples").rglob("*.py")]
    }
    assert {k: v for k, v in lengths.items() if v > limit["max-module-lines"]} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_it_is_for(package: str) -> None:
    readme = (ROOT / package / "README.md").read_text(encoding="utf-8")
    assert 5 <= len(readme.splitlines()) <= 60


@pytest.mark.parametrize("folder", [*PACKAGES, "infra/calls"])
def test_a_folder_s_page_names_each_of_its_modules(folder: str) -> None:
    named = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    paths = (ROOT / folder).glob("*.py")
    modules = [path.stem for path in paths if not path.stem.startswith("_")]
    assert [one for one in modules if f"`{one}`" not in named] == []


HOMES = {
    "prefect": {"flows", "tasks"},
    "mlflow": {"infra/registry"},
    "sqlalchemy": {"infra"},
    "alembic": {"infra"},
    "torch": {"serving/variants", "serving/replica"},
    "transformers": {"serving/variants", "serving/replica"},
    "openvino": {"serving/variants", "serving/replica"},
    "onnxruntime": {"serving/variants", "serving/replica"},
    "safetensors": {"serving/variants", "serving/replica"},
    "onnx": {"serving/variants"},
    "onnxscript": {"serving/variants"},
    "nncf": {"serving/variants"},
    "grpc": {"serving/gateway/grpc"},
    "typer": {"console"},
    "rich": {"console"},
    "evaluate": {"evaluation"},
    "sklearn": {"evaluation"},
    "scipy": {"evaluation"},
    "matplotlib": {"evaluation"},
    "jinja2": {"evaluation"},
    "presidio_analyzer": {"infra/personal.py"},
    "spacy": {"infra/personal.py"},
}
"""Each heavy dependency to where it may be imported."""


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("library", HOMES)
def test_each_heavy_dependency_has_one_home(library: str) -> None:
    astray = [
        str(path.relative_to(ROOT))
        for path in modules()
        if library in imported(path)
        and not any(path.is_relative_to(ROOT / home) for home in HOMES[library])
    ]
    assert astray == []


HEAVY = ("prefect", "mlflow", "torch", "transformers", "openvino", "onnxruntime", "datasets")


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("console.main", (*HEAVY, "sqlalchemy", "pydantic", "httpx")),
        ("serving.gateway.main", (*HEAVY, "sqlalchemy", "numpy", "grpc", "google.protobuf")),
        ("serving.agent.main", HEAVY),
        ("serving.client", HEAVY),
        ("tasks.plan", HEAVY),
        ("tasks.sight", HEAVY),
        ("console.watching", HEAVY),
        ("release.controller", (*HEAVY, "sqlalchemy", "numpy", "pydantic")),
    ],
)
def test_what_must_start_fast_imports_nothing_heavy(module: str, banned: tuple[str, ...]) -> None:
    code = f"import {module}, sys; print(*sorted({banned!r} & sys.modules.keys()))"
    code = code.replace(repr(banned), repr(set(banned)))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
