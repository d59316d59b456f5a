"""Every recipe for other families of models: `python -m tests.fakes.tiny_families OUT`.

Their weights are random, and wide enough for answers to differ from text to text. DistilBERT knows
no token types; RoBERTa counts positions from behind the number of its padding.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from release.variants import RECIPES, Candidate
from serving.variants.build import build
from serving.variants.store import Store
from tests.fakes.tiny_model import LABELS, save_tokenizer

FAMILIES = ("distilbert", "roberta")
LONGEST = 40
"""Longest input in tokens, and all that their positions have room for."""

SPECIAL = ("[UNK]", "[PAD]", "[CLS]", "[SEP]")
PADDING = SPECIAL.index("[PAD]")
WIDE = 0.2
"""Spread of the weights; the usual 0.02 gives the same answer to every text."""


def make_family(folder: Path, family: str) -> Path:
    """Write a candidate of a family."""
    folder.mkdir(parents=True)
    vocabulary = {word: n for n, word in enumerate([*SPECIAL, *LABELS, *map(str, range(100))])}
    save_tokenizer(vocabulary, folder)
    torch.manual_seed(0)
    model = _model(family, len(vocabulary), dict(enumerate(LABELS)))
    model.save_pretrained(folder)
    return folder


def _model(family: str, words: int, labels: dict[int, str]) -> Any:
    common: dict[str, Any] = {
        "vocab_size": words,
        "pad_token_id": PADDING,
        "id2label": labels,
        "initializer_range": WIDE,
    }
    if family == "distilbert":
        config = DistilBertConfig(
            dim=32,
            n_layers=2,
            n_heads=2,
            hidden_dim=64,
            max_position_embeddings=LONGEST,
            architectures=["DistilBertForSequenceClassification"],
            **common,
        )
        return DistilBertForSequenceClassification(config)
    return RobertaForSequenceClassification(
        RobertaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=LONGEST + PADDING + 1,
            type_vocab_size=1,
            architectures=["RobertaForSequenceClassification"],
            **common,
        )
    )


def main(out: Path) -> None:
    store = Store(out / "store")
    texts = [f"{n} {LABELS[n % 3]} {n * 7 % 100} {n * n % 100}" for n in range(24)]
    built: dict[str, dict[str, Any]] = {family: {} for family in FAMILIES}
    for family, made in built.items():
        source = make_family(out / family, family)
        for recipe in RECIPES:
            one = build(recipe, Candidate(model=family, version=1), source, texts, store)
            made[recipe.label] = {
                "digest": one.variant.digest,
                "longest": one.manifest.longest_input,
                "parity": dict(one.manifest.parity),
            }
            print(family, recipe.label, round(one.seconds, 1), one.manifest.parity)  # noqa: T201
    (out / "built.json").write_text(json.dumps(built))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
