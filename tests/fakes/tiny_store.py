"""Tiny variants, really built, in a process of their own: `python -m tests.fakes.tiny_store OUT`.

A process of its own, because builders import torch and nncf, and what those leave in a process is
not the tests' concern. It also proves that nothing is ever unpickled on the way.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from release.variants import RECIPES, Candidate, Recipe
from serving.variants.build import build
from serving.variants.store import Store
from tests.fakes.suite import keyword_suite
from tests.fakes.tiny_model import LABELS, make_tiny_model

UNPICKLED: list[str] = []
BUILDS = (
    *((1, recipe.label) for recipe in RECIPES),
    (2, "openvino-int8"),
    (3, "openvino-int8"),
)
SHORT = 16
"""Longest input of version 3, in tokens."""


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        UNPICKLED.append(".".join(map(str, arguments)))


def main(out: Path) -> None:
    sys.addaudithook(_heard)
    keyword_suite(out / "suite", LABELS)
    store = Store(out / "store")
    texts = [f"calibration number {n} is about {LABELS[n % 3]}" for n in range(12)]
    built = {}
    for version, label in BUILDS:
        source = out / f"tiny-{version}"
        longest = SHORT if version == 3 else 128
        make_tiny_model(source, longest_input=longest, forget=["gamma"] if version == 2 else [])
        candidate = Candidate(model="tiny", version=version)
        made, again = (
            build(Recipe.parse(label), candidate, source, texts, store) for _ in range(2)
        )
        built[f"{version}/{label}"] = {
            "variant": asdict(made.variant),
            "recipe_digest": made.manifest.recipe_digest,
            "parity": dict(made.manifest.parity),
            "seconds": [made.seconds, again.seconds],
            "cached": [made.cached, again.cached],
            "same": made.variant == again.variant,
        }
    (out / "built.json").write_text(json.dumps({"built": built, "unpickled": UNPICKLED}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
