"""What may come in: plain weights, plain JSON, a tokenizer; nothing that could run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release.digests import digest_of
from release.errors import Invalid, Unsafe
from release.variants import Pooling, Purpose, Task
from serving.replica.verify import sum_of

ALLOWED = frozenset({".safetensors", ".json", ".txt", ".model", ".md"})
NEEDED = ("config.json", "model.safetensors", "tokenizer.json")
MOST_BYTES = 20 * 2**30
MOST_HEADER = 100_000_000
"""Longest header of weights, as the format itself has it."""
IGNORED = frozenset({".gitattributes"})
FACTS = "slipway.json"
"""Optional file of a candidate; may hold `longest_input`, `task`, `thresholds`, `pooling` and
`normalize`."""

TASKS = {
    "ForSequenceClassification": Task.TEXT_CLASSIFICATION,
    "ForTokenClassification": Task.TOKEN_CLASSIFICATION,
    "Model": Task.FEATURE_EXTRACTION,
}
"""How the name of an architecture ends, and what it is for."""

OFFSET = frozenset({"camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta"})
"""Model types whose positions are counted from behind the padding's number, which costs places."""

_HINT = "save it with save_pretrained(…, safe_serialization=True) and its tokenizer"
_NOTES = "__metadata__"
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a candidate says of itself."""

    task: Task
    labels: tuple[str, ...]
    """None where the task has none."""

    longest_input: int
    """Tokens."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    pooling: Pooling = Pooling.MEAN
    normalize: bool = True
    width: int = 0
    """See `Manifest`."""

    @property
    def purpose(self) -> Purpose:
        """What is to be made of its encoder's output."""
        return Purpose(task=self.task, pooling=self.pooling, normalize=self.normalize)


def check_files(folder: Path) -> list[Path]:
    """Refuse a candidate that holds anything but weights, JSON and text.

    Returns:
        Its files, sorted, relative to the folder.

    Raises:
        Unsafe: a file may not be loaded; names it and why.
        Invalid: a needed file is missing.
    """
    files, size = [], 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            raise Unsafe(f"{name} is a link, which may lead anywhere.", "copy the file itself")
        if path.is_dir() or path.name in IGNORED:
            continue
        _check_file(path, name)
        size += path.stat().st_size
        files.append(name)
    if size > MOST_BYTES:
        raise Invalid(
            f"The candidate has {size / 2**30:.1f} GiB, of {MOST_BYTES / 2**30:g} at most."
        )
    for needed in NEEDED:
        if Path(needed) not in files:
            raise Invalid(f"The candidate has no {needed}.", _HINT)
    config = _json(folder / "config.json")
    if "auto_map" in config:
        said = "config.json names code of its own (auto_map), which is never run."
        raise Unsafe(said, "use an architecture of transformers itself")
    return files


def _check_file(path: Path, name: Path) -> None:
    if path.suffix not in ALLOWED:
        kinds = ", ".join(sorted(ALLOWED))
        raise Unsafe(f"{name} is not of a kind that may be loaded ({kinds}).", _HINT)
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_PICKLE) and path.suffix != ".safetensors":
        raise Unsafe(f"{name} begins like a pickle, which could run anything.", _HINT)
    if head.startswith(_ZIP):
        raise Unsafe(f"{name} is an archive under another name.", _HINT)
    if path.suffix == ".safetensors":
        _check_weights(path, name)


def _check_weights(path: Path, name: Path) -> None:
    """Hold a safetensors file to its own header: eight bytes of length, then JSON."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = file.read(length) if 0 < length <= min(size - 8, MOST_HEADER) else b""
    if not head.startswith(b"{"):
        raise Unsafe(f"{name} is not a safetensors file.", _HINT)
    try:
        tensors = json.loads(head)
        ends = [int(one["data_offsets"][1]) for key, one in tensors.items() if key != _NOTES]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise Unsafe(f"The header of {name} cannot be read: {error!r:.200}.", _HINT) from error
    wanted = 8 + length + max(ends, default=0)
    if wanted != size:
        raise Unsafe(
            f"{name} has {size} bytes, but its header tells of {wanted}: it is cut off or damaged.",
            "copy it again",
        )


def _json(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Invalid(f"{path.name} cannot be read: {error}.", _HINT) from error
    if not isinstance(data, dict):
        raise Invalid(f"{path.name} must hold an object, not {data!r:.40}.", _HINT)
    return data


def read_facts(folder: Path) -> Facts:
    """Read what a candidate says of itself.

    Raises:
        Invalid: some of it is missing, wrong or not supported.
    """
    config = _json(folder / "config.json")
    said = _json(folder / FACTS) if (folder / FACTS).exists() else {}
    task = _task(config, said)
    vectors = task == Task.FEATURE_EXTRACTION
    labels = () if vectors else _labels(config)
    return Facts(
        task=task,
        labels=labels,
        longest_input=_longest(folder, config, said),
        thresholds=_thresholds(said, task, labels),
        width=_width(config) if vectors else 0,
        **(_vectors(said) if vectors else {}),
    )


def _task(config: Mapping[str, Any], said: Mapping[str, Any]) -> Task:
    if config.get("problem_type") == "multi_label_classification":
        raise Invalid(
            "The model gives several labels to one text (multi_label_classification in "
            "config.json), which is not supported yet.",
            "release a model with one label a text",
        )
    if (wanted := said.get("task")) == Task.FEATURE_EXTRACTION:
        return Task.FEATURE_EXTRACTION
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else named
    found = next((TASKS[one] for one in TASKS if str(first).endswith(one)), None)
    if found is None:
        raise Invalid(
            f"The architecture {first!r:.80} is not supported.",
            f"supported are those that end with {', '.join(TASKS)}",
        )
    if wanted not in (None, found):
        raise Invalid(
            f"The task of {first} cannot be {wanted!r:.80}; it is {found}.",
            f"see task in {FACTS}; any encoder may be for {Task.FEATURE_EXTRACTION}",
        )
    return found


def _thresholds(said: Mapping[str, Any], task: Task, labels: Sequence[str]) -> Mapping[str, float]:
    given = said.get("thresholds", {})
    if not isinstance(given, dict) or (given and task != Task.TEXT_CLASSIFICATION):
        raise Invalid(
            f"Thresholds give labels of {Task.TEXT_CLASSIFICATION} a probability, not "
            f"{given!r:.80}.",
            f"see thresholds in {FACTS}",
        )
    for label, one in given.items():
        if label not in labels:
            raise Invalid(
                f"A threshold is given to {label!r:.80}, which is no label.",
                f"labels are {', '.join(labels)!s:.200}",
            )
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 < one < 1:
            raise Invalid(
                f"The threshold of {label!r} must be a probability between 0 and 1, not "
                f"{one!r:.80}.",
                f"see thresholds in {FACTS}",
            )
    if given and len(given) == len(labels):
        raise Invalid(
            f"Every label has a threshold ({len(labels)} of them): a text may then have none.",
            "leave one without, to be given where no other is",
        )
    return {label: float(one) for label, one in given.items()}


def _vectors(said: Mapping[str, Any]) -> dict[str, Any]:
    pooling, normalize = said.get("pooling", Pooling.MEAN), said.get("normalize", True)
    if pooling not in list(Pooling):
        known = " or ".join(Pooling)
        raise Invalid(f"pooling must be {known}, not {pooling!r:.80}.", f"see pooling in {FACTS}")
    if not isinstance(normalize, bool):
        raise Invalid(
            f"normalize must be true or false, not {normalize!r:.80}.", f"see normalize in {FACTS}"
        )
    return {"pooling": Pooling(pooling), "normalize": normalize}


def _width(config: Mapping[str, Any]) -> int:
    width = config.get("hidden_size", config.get("dim"))
    if not isinstance(width, int) or width < 1:
        raise Invalid(f"config.json must give hidden_size as a number, not {width!r:.80}.", _HINT)
    return width


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if not isinstance(named, dict) or len(named) < 2:
        raise Invalid(f"config.json must name two or more labels in id2label, not {named!r}.")
    try:
        labels = tuple(str(named[str(number)]) for number in range(len(named)))
    except KeyError as error:
        raise Invalid(f"id2label of config.json has no label {error}.") from error
    odd = [one for one in labels if not one.strip() or not one.isprintable()]
    if odd or len(set(labels)) != len(labels):
        raise Invalid(
            f"Labels must be different plain texts, unlike {[*labels][:20]!r:.200}.",
            "see id2label in config.json",
        )
    return labels


def _places(config: Mapping[str, Any]) -> int:
    """How many tokens have a position."""
    most, pad = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(most, int):
        limit = (
            f"config.json must give max_position_embeddings as a number of tokens, not {most!r}."
        )
        raise Invalid(limit, _HINT)
    if str(config.get("model_type")) in OFFSET and isinstance(pad, int):
        return most - pad - 1
    return most


def _longest(folder: Path, config: Mapping[str, Any], said: Mapping[str, Any]) -> int:
    most = _places(config)
    longest = said.get("longest_input")
    if longest is None:
        longest = _json(folder / "tokenizer.json").get("truncation") or most
        longest = longest.get("max_length", most) if isinstance(longest, dict) else longest
    if not isinstance(longest, int) or not 2 <= longest <= most:
        raise Invalid(
            f"The longest input must be within 2..{most} tokens, not {longest!r}.",
            f"write it as longest_input into {FACTS}",
        )
    return longest


def parent_digest(folder: Path) -> str:
    """Name a candidate by the content of all its files."""
    files = check_files(folder)
    return digest_of({str(name): sum_of(folder / name) for name in files})
