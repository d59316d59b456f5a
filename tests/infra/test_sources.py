import os
import subprocess
from pathlib import Path

import pytest

from infra.settings import inherited
from infra.sources import code_digest, commit_of, data_digest
from release.errors import Invalid, NotFound


def data(root: Path) -> Path:
    (root / "语料" / "训练").mkdir(parents=True)
    (root / "语料" / "训练" / "第一部分.jsonl").write_text('{"text": "文档"}\n', encoding="utf-8")
    (root / "语料" / "notes.txt").write_text("notes")
    return root / "语料"


def test_the_same_files_have_the_same_digest_wherever_they_lie(tmp_path: Path) -> None:
    one, two = data(tmp_path / "one"), data(tmp_path / "二")
    assert data_digest(one) == data_digest(two)
    assert data_digest(one).startswith("sha256:")
    file = one / "notes.txt"
    assert data_digest(file) == data_digest(two / "notes.txt") != data_digest(one)


def test_any_change_gives_another_digest(tmp_path: Path) -> None:
    folder = data(tmp_path)
    seen = {data_digest(folder)}
    part = folder / "训练" / "第一部分.jsonl"
    part.write_bytes(part.read_bytes() + b" ")
    seen.add(data_digest(folder))
    part.rename(folder / "训练" / "第二部分.jsonl")
    seen.add(data_digest(folder))
    (folder / "empty").touch()
    seen.add(data_digest(folder))
    (folder / os.fsdecode(b"\xff\xfe")).write_text("a name that is no text")
    seen.add(data_digest(folder))
    assert len(seen) == 5


def test_links_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    folder = data(tmp_path / "here")
    before = data_digest(folder)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    assert data_digest(folder) == before
    elsewhere = data(tmp_path / "elsewhere")
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    linked = data_digest(folder)
    (elsewhere / "notes.txt").write_text("other notes")
    assert len({before, linked, data_digest(folder)}) == 3


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no data at .*没有"):
        data_digest(tmp_path / "没有")
    with pytest.raises(Invalid, match="without any file"):
        data_digest(tmp_path)


def test_code_is_the_python_beside_the_entrypoint(tmp_path: Path) -> None:
    entrypoint = tmp_path / "训练.py"
    entrypoint.write_text("import helpers\n")
    (tmp_path / "lib").mkdir()
    helper = tmp_path / "lib" / "helpers.py"
    helper.write_text("x = 1\n")
    before = code_digest(entrypoint)
    environment = tmp_path / "env"
    (environment / "lib").mkdir(parents=True)
    (environment / "pyvenv.cfg").touch()
    (environment / "lib" / "numpy.py").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.py").touch()
    (tmp_path / "notes.md").touch()
    assert code_digest(entrypoint) == before
    helper.write_text("x = 2\n")
    assert code_digest(entrypoint) != before


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments],
        env={key: value for key, value in inherited().items() if not key.startswith("GIT_")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_a_commit_says_whether_the_folder_differs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "训练"
    folder.mkdir()
    entrypoint = folder / "train.py"
    entrypoint.write_text("pass\n")
    assert commit_of(entrypoint) == ""
    git(tmp_path, "init", "-q")
    assert commit_of(entrypoint) == ""
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "elsewhere.txt").touch()
    assert commit_of(entrypoint) == commit
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit_of(entrypoint) == commit
    (folder / "new.py").touch()
    assert commit_of(entrypoint) == f"{commit}+changes"
    (folder / "new.py").unlink()
    entrypoint.write_text("other\n")
    assert commit_of(entrypoint) == f"{commit}+changes"


def test_programs_that_git_runs_get_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrypoint = tmp_path / "train.py"
    entrypoint.write_text("pass\n")
    (tmp_path / ".gitattributes").write_text("*.py filter=spy\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    heard = tmp_path.parent / f"{tmp_path.name}-heard"
    git(tmp_path, "config", "filter.spy.clean", f"env > '{heard}'; cat")
    secrets = ("SLIPWAY_TOKEN", "SLIPWAY_LEDGER_URL", "PREFECT_API_AUTH_STRING", "PGPASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("MINE", "kept")
    entrypoint.write_text("past\n")
    assert commit_of(entrypoint).endswith("+changes")
    assert "MINE=kept" in heard.read_text()
    assert "a secret" not in heard.read_text()


def test_an_entrypoint_that_git_ignores_has_no_commit(tmp_path: Path) -> None:
    """A home folder often lies inside a checkout: its commit says nothing about what is copied."""
    (tmp_path / ".gitignore").write_text("home\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "train.py").write_text("pass\n")
    assert commit_of(tmp_path / "home" / "train.py") == ""
