"""Whether a folder is exactly the variant that was approved."""

import json
from hashlib import file_digest
from pathlib import Path

from release.errors import NotFound, Unsafe
from release.variants import Manifest

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> Manifest:
    """Read a variant's manifest.

    Raises:
        NotFound: there is none.
        Unsafe: it is not one.
    """
    try:
        return Manifest.from_json(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except OSError as error:
        raise NotFound(f"There is no variant in {folder}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise Unsafe(f"{folder / MANIFEST} is not a manifest: {error!r}.") from error


def verify(folder: Path, digest: str) -> Manifest:
    """Hold every file of a variant against its manifest, and the manifest against its digest.

    Raises:
        NotFound: there is no variant.
        Unsafe: something is not what was approved; names it, with both sums.
    """
    manifest = read_manifest(folder)
    if manifest.digest != digest:
        raise Unsafe(f"{folder} holds {manifest.digest}, not the approved {digest}.")
    present = {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.is_dir() and path.name != MANIFEST
    }
    if strange := sorted(present ^ set(manifest.files)):
        raise Unsafe(f"{folder} differs from its manifest in {', '.join(strange)}.")
    for name, expected in manifest.files.items():
        found = sum_of(folder / name)
        if found != expected:
            raise Unsafe(f"{folder / name} is {found}, not {expected} as approved.")
    return manifest


def sum_of(path: Path) -> str:
    """SHA-256 of a file, as `sha256:` and 64 hexadecimal digits."""
    with path.open("rb") as file:
        return f"sha256:{file_digest(file, 'sha256').hexdigest()}"
