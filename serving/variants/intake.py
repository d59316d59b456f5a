"""What may come in: plain weights, plain JSON, a tokenizer; nothing that could run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from release.digests import digest_of
from release.errors import Invalid, Unsafe
from serving.replica.verify import sum_of

ALLOWED = frozenset({".safetensors", ".json", ".txt", ".model", ".md"})
NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
MOST_BYTES = 20 * 2**30
MOST_HEADER = 100_000_000
"""Longest header of weights, as the format itself has it."""
MOST_NAMED = 10
"""Files that a sentence names."""

IGNORED = frozenset({".gitattributes"})
HINT = "save it with save_pretrained(…, safe_serialization=True) and its tokenizer"
_NOTES = "__metadata__"
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"


def check_files(folder: Path) -> list[Path]:
    """Refuse a candidate that holds anything but weights, JSON and text.

    Returns:
        Its files, sorted, relative to the folder.

    Raises:
        Unsafe: a file may not be loaded; names it and why.
        Invalid: a needed file is missing.
    """
    files = _files(folder)
    _check_kinds(files)
    for name in files:
        _check_file(folder / name, name)
    size = sum((folder / name).stat().st_size for name in files)
    if size > MOST_BYTES:
        raise Invalid(
            f"The candidate has {size / 2**30:.1f} GiB, of {MOST_BYTES / 2**30:g} at most."
        )
    for needed in NEEDED:
        if Path(needed) not in files:
            raise Invalid(f"The candidate has no {needed}.", HINT)
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        said = "config.json names code of its own (auto_map), which is never run."
        raise Unsafe(said, "use an architecture of transformers itself")
    return files


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            raise Unsafe(f"{name} is a link, which may lead anywhere.", "copy the file itself")
        if path.is_file() and path.name not in IGNORED:
            found.append(name)
    return found


def _check_kinds(files: Sequence[Path]) -> None:
    """Name all that may not be loaded at once; of what is hidden in a folder, the folder."""
    wrong = [name for name in files if name.suffix not in ALLOWED]
    if not wrong:
        return
    shown = list(dict.fromkeys(f"{one.parts[0]}/" if _hidden(one) else str(one) for one in wrong))
    names = ", ".join(shown[:MOST_NAMED])
    more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
    are = "is" if len(shown) == 1 else "are"
    raise Unsafe(
        f"{names}{more} {are} not of a kind that may be loaded ({', '.join(sorted(ALLOWED))}).",
        "leave out what the model does not need"
        if all(Path(needed) in files for needed in NEEDED)
        else HINT,
    )


def _hidden(name: Path) -> bool:
    return len(name.parts) > 1 and name.parts[0].startswith(".")


def _check_file(path: Path, name: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_PICKLE) and path.suffix != ".safetensors":
        raise Unsafe(f"{name} begins like a pickle, which could run anything.", HINT)
    if head.startswith(_ZIP):
        raise Unsafe(f"{name} is an archive under another name.", HINT)
    if path.suffix == ".safetensors":
        _check_weights(path, name)


def _check_weights(path: Path, name: Path) -> None:
    """Hold a safetensors file to its own header: eight bytes of length, then JSON."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if 0 < length <= min(size - 8, MOST_HEADER) else b""
    if not head.startswith(b"{"):
        raise Unsafe(f"{name} is not a safetensors file.", HINT)
    try:
        tensors = json.loads(head)
        ends = [int(one["data_offsets"][1]) for key, one in tensors.items() if key != _NOTES]
    except (ValueError, OverflowError, LookupError, TypeError, RecursionError) as error:
        raise Unsafe(f"The header of {name} cannot be read: {error!r:.200}.", HINT) from error
    wanted = 8 + length + max(ends, default=0)
    if wanted != size:
        raise Unsafe(
            f"{name} has {size} bytes, but its header tells of {wanted}: it is cut off or damaged.",
            "copy it again",
        )


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a file that holds an object.

    Raises:
        Invalid: it does not.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}.", HINT) from error
    if not isinstance(data, dict):
        raise Invalid(f"{path.name} must hold an object, not {data!r:.40}.", HINT)
    return data


def parent_digest(folder: Path) -> str:
    """Name a candidate by the content of all its files."""
    files = check_files(folder)
    return digest_of({str(name): sum_of(folder / name) for name in files})
