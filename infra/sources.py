"""What a training is made from: digests of data and code on disk, and the commit of the code."""

import os
import subprocess
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from infra.settings import inherited_by_git
from release.digests import digest_of
from release.errors import Invalid, NotFound

GIT_SECONDS = 60.0


def data_digest(where: Path) -> str:
    """Name a file, or a folder by the relative paths and contents of all its files.

    Raises:
        NotFound: there is nothing, or it cannot be read.
        Invalid: the folder holds no file.
    """
    if not where.exists():
        raise NotFound(f"There is no data at {where}.", "see data in the training")
    try:
        files = [where] if where.is_file() else sorted(_files(where))
        if not files:
            raise Invalid(f"The data at {where} is a folder without any file.")
        return _digest(where, files)
    except OSError as error:
        raise NotFound(f"The data at {where} cannot be read: {error}.") from error


def code_digest(entrypoint: Path) -> str:
    """Name an entrypoint and every Python file beside and below it by their contents.

    Hidden folders and virtual environments are passed over.

    Raises:
        NotFound: one of them cannot be read.
    """
    folder = entrypoint.parent
    try:
        files = {path for path in _files(folder, code=True) if path.suffix == ".py"} | {entrypoint}
        return _digest(folder, sorted(files))
    except OSError as error:
        raise NotFound(f"The code in {folder} cannot be read: {error}.") from error


def _digest(where: Path, files: list[Path]) -> str:
    sums = {}
    for path in files:
        with path.open("rb") as file:
            sums[_name(path.relative_to(where))] = file_digest(file, "sha256").hexdigest()
    return digest_of(sums)


def _name(path: Path) -> str:
    """Write a path with `/`; a name that is no text keeps its bytes, escaped."""
    return os.fsencode(path.as_posix()).decode("utf-8", errors="backslashreplace")


def _files(folder: Path, *, code: bool = False) -> Iterator[Path]:
    """Give every file below a folder; a folder that is linked twice, or to itself, once."""
    seen = set()
    for place, inner, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(place)
        if (real := here.resolve()) in seen or (code and _foreign(here, folder)):
            inner.clear()
            continue
        seen.add(real)
        inner.sort()
        yield from (here / name for name in names if (here / name).is_file())


def _refuse(error: OSError) -> None:
    raise error


def _foreign(place: Path, folder: Path) -> bool:
    inside = place != folder
    return inside and (place.name.startswith((".", "__")) or (place / "pyvenv.cfg").exists())


def commit_of(entrypoint: Path) -> str:
    """Give the git commit of an entrypoint's folder.

    Returns:
        The commit, with `+changes` where the folder differs from it; empty where git does not know
        the entrypoint, or is not there.
    """
    folder = entrypoint.parent
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit or not _git(folder, "ls-files", "--", entrypoint.name):
        return ""
    changed = _git(folder, "status", "--porcelain", "--", ".")
    # A git that cannot tell has not said that nothing changed.
    return commit if changed == "" else f"{commit}+changes"


def _git(folder: Path, *arguments: str) -> str | None:
    """Ask git; None where it does not answer."""
    command = ["git", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-C", str(folder)]
    try:
        done = subprocess.run(
            [*command, *arguments],
            env=inherited_by_git(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
