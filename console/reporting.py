"""The report of a release, as a page to look at."""

import sys
import webbrowser
from pathlib import Path

from console.serve import Addresses
from infra.files import write_atomic
from infra.settings import Settings
from release.errors import Invalid, Unavailable
from tasks.sight import find
from tasks.telling import read_dossier, write_page
from tasks.wiring import house


def report(release_id: str, out: Path | None, *, browse: bool) -> None:
    """Write a release's page as the ledger knows it now, and say where it lies.

    Args:
        release_id: or a model: its open release, else its newest.
        out: file to write it to instead of the home folder's.
        browse: whether to open it.
    """
    here = house()
    dossier = read_dossier(here, find(here, release_id, newest=True).id, _links(here.settings))
    text, path = write_page(here, dossier), here.settings.page(dossier.release.id)
    if out is not None:
        _write(out, text)
        path = out.absolute()
    sys.stdout.write(f"{path}\n")
    if browse and not webbrowser.open(path.as_uri()):
        raise Unavailable("No browser can be opened here.", f"open {path.as_uri()}")


def _write(out: Path, text: str) -> None:
    """Write a page to a file that somebody named; never over what is no file."""
    if out.is_dir() or (out.exists() and not out.is_file()):
        raise Invalid(f"{out} is there and is no file.", "name a file, such as report.html")
    try:
        write_atomic(out.absolute(), text.encode())
    except (OSError, ValueError) as error:
        raise Invalid(f"The report cannot be written to {out}: {error}.") from error


def _links(settings: Settings) -> dict[str, str]:
    try:
        prefect = Addresses.of(settings).prefect
    except Unavailable:
        return {}
    return {"Prefect": f"{prefect.removesuffix('/api')}/artifacts"}
