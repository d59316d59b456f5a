"""Every recipe for other families of models and for every task: `python -m
tests.fakes.tiny_families OUT [FAMILY …]`.

Their weights are random, and wide enough for answers to differ from text to text. DistilBERT knows
no token types; RoBERTa counts positions from behind the number of its padding.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig

from release.variants import RECIPES, Candidate, Task
from serving.replica.engines.nets import CLASSES
from serving.variants.build import build
from serving.variants.store import Store
from tests.fakes.tiny_model import LABELS, save_tokenizer

TEXT, TOKEN, VECTOR = Task.TEXT_CLASSIFICATION, Task.TOKEN_CLASSIFICATION, Task.FEATURE_EXTRACTION
FAMILIES: dict[str, tuple[str, Task, dict[str, Any]]] = {
    "distilbert": ("distilbert", TEXT, {}),
    "roberta": ("roberta", TEXT, {}),
    "bert-tokens": ("bert", TOKEN, {}),
    "electra-tokens": ("electra", TOKEN, {}),
    "bert-mean": ("bert", VECTOR, {}),
    "distilbert-first": ("distilbert", VECTOR, {"pooling": "cls", "normalize": False}),
    "electra-mean": ("electra", VECTOR, {}),
}
"""Name to model type, task and what `slipway.json` says. Nobody packs ELECTRA."""

PACKED = frozenset(name for name in FAMILIES if not name.startswith("electra"))
WIDTH = 32
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
    kind, task, said = FAMILIES[family]
    config = _config(kind, len(vocabulary))
    CLASSES[task].from_config(config).save_pretrained(folder)
    if said:
        (folder / "slipway.json").write_text(json.dumps(said))
    return folder


def _config(kind: str, words: int) -> Any:
    common: dict[str, Any] = {
        "vocab_size": words,
        "pad_token_id": PADDING,
        "id2label": dict(enumerate(LABELS)),
        "initializer_range": WIDE,
        "max_position_embeddings": LONGEST,
    }
    if kind == "distilbert":
        return DistilBertConfig(dim=WIDTH, n_layers=2, n_heads=2, hidden_dim=64, **common)
    common |= {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    if kind == "roberta":
        common |= {"max_position_embeddings": LONGEST + PADDING + 1, "type_vocab_size": 1}
        return RobertaConfig(**common)
    if kind == "electra":
        return ElectraConfig(embedding_size=WIDTH, **common)
    return BertConfig(**common)


def main(out: Path, families: Sequence[str]) -> None:
    store = Store(out / "store")
    texts = [f"{n} {LABELS[n % 3]} {n * 7 % 100} {n * n % 100}" for n in range(24)]
    built: dict[str, dict[str, Any]] = {family: {} for family in families}
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
    main(Path(sys.argv[1]), sys.argv[2:] or list(FAMILIES))
