"""What the group `serving` serves, built once into a folder: `python -m tests.bench.artefacts`.

A process of its own builds it, so that the one that measures stays small. What lies there already
is kept; the store knows a recipe's result by its digest.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.settings import inherited
from release.variants import Candidate, Recipe, Variant

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "bench"
LONGEST = 256
CHOSEN, EXACT = "openvino-int8", "torch-fp32"

NULL = Variant(model="null", version=1, recipe="onnx-int8", digest=f"sha256:{0:064}")
"""What computes nothing; its replica is `null_replica`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """Everything that is served, by us and by peers."""

    store: Path
    chosen: Variant
    """openvino-int8 as the house builds it."""

    neighbour: Variant
    """The same of another model, which is released while the first serves."""

    exact: Variant
    """torch-fp32."""

    padded: Path
    """Folder of the same int8 model as a graph of padded batches: what peers are given."""

    source: Path
    """Folder of the candidate itself, for transformers."""

    def folder(self, variant: Variant) -> Path:
        """Where a variant lies."""
        return self.store / "sha256" / variant.digest.removeprefix("sha256:")


def artefacts() -> Artefacts:
    """Build what is missing.

    Raises:
        RuntimeError: the builder failed; with its last words.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.artefacts"],
        cwd=ROOT,
        env=inherited(PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the artefacts cannot be built: {done.stderr[-400:]}")
    return known()


def known() -> Artefacts:
    """Give what was built before."""
    found = json.loads((FOLDER / "artefacts.json").read_text(encoding="utf-8"))
    return Artefacts(
        store=FOLDER / "store",
        padded=FOLDER / found["padded"],
        source=FOLDER / "candidate",
        **{name: Variant.from_json(found[name]) for name in ("chosen", "neighbour", "exact")},
    )


def main() -> None:
    """Build, and write down what there is."""
    from serving.variants.build import build, recipe_digest
    from serving.variants.intake import parent_digest
    from serving.variants.store import Store
    from tests.bench.trace import trace
    from tests.bench.variants import a_candidate

    FOLDER.mkdir(parents=True, exist_ok=True)
    source = a_candidate(FOLDER / "candidate", LONGEST)
    texts, store = trace(64, 1), Store(FOLDER / "store")
    wanted = {
        "chosen": ("minilm", CHOSEN),
        "neighbour": ("neighbour", CHOSEN),
        "exact": ("exact", EXACT),
    }
    found: dict[str, object] = {}
    for name, (model, label) in wanted.items():
        candidate = Candidate(model=model, version=1)
        made = build(Recipe.parse(label), candidate, source, texts, store)
        found[name] = asdict(made.variant)
    key = recipe_digest(
        Recipe.parse(CHOSEN), Candidate(model="padded", version=1), parent_digest(source), texts
    )
    found["padded"] = f"padded-{key[-12:]}"
    _pad(source, FOLDER / f"padded-{key[-12:]}", texts)
    (FOLDER / "artefacts.json").write_text(json.dumps(found), encoding="utf-8")


def _pad(source: Path, place: Path, texts: list[str]) -> None:
    from serving.variants.quantize import quantize

    if place.exists():
        return
    aside = place.with_suffix(".aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    quantize(source, aside, texts, LONGEST, pack=False)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(source / name, aside / name)
    aside.rename(place)


if __name__ == "__main__":
    main()
