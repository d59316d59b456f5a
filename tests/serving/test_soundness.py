"""Candidates that would be built and served, and answer wrongly."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

from release.errors import Invalid, SlipwayError, Unsafe
from release.variants import Candidate, Purpose, Recipe
from serving.replica.engines import Tokens
from serving.replica.engines.nets import CLASSES, read_model
from serving.variants.build import build
from serving.variants.store import Store
from serving.variants.weights import quantize_linears
from tests.fakes.tiny_families import PADDING, SPECIAL, TEXT, VECTOR, make_family
from tests.fakes.tiny_model import LABELS, save_tokenizer

WEIGHTS = "model.safetensors"
VOCABULARY = {word: n for n, word in enumerate([*SPECIAL, *LABELS, *map(str, range(100))])}
TEXTS = [f"{n} {LABELS[n % 3]} {n * 7 % 100} {n * n % 100}" for n in range(24)]


def _without_head(root: Path) -> Path:
    folder = make_family(root, "roberta")
    tensors = load_file(folder / WEIGHTS)
    kept = {name: one for name, one in tensors.items() if not name.startswith("classifier.out")}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})
    return folder


def _without_padding(root: Path) -> Path:
    root.mkdir(parents=True)
    save_tokenizer(VOCABULARY, root)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        initializer_range=0.2,
        id2label=dict(enumerate(LABELS)),
    )
    CLASSES[TEXT].from_config(config).save_pretrained(root)
    return root


def _not_numbers(root: Path) -> Path:
    folder = make_family(root, "distilbert")
    tensors = load_file(folder / WEIGHTS)
    tensors["distilbert.transformer.layer.0.ffn.lin1.weight"][0, 0] = float("nan")
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return folder


def _short(root: Path) -> Path:
    folder = make_family(root, "distilbert")
    (folder / "slipway.json").write_text(json.dumps({"longest_input": 4}))
    return folder


def _more_words(root: Path) -> Path:
    folder = make_family(root, "distilbert")
    save_tokenizer({word: n + (n > 3) * len(VOCABULARY) for word, n in VOCABULARY.items()}, folder)
    return folder


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (_without_head, Unsafe, "lacks 2 tensors that text-classification needs: classifier.out_"),
        (_without_padding, Invalid, "answers otherwise where padding follows a text: by"),
        (_not_numbers, Invalid, "the model gave numbers that are not finite"),
        (_short, Invalid, "None of 24 calibration texts fits: the shortest has 6 tokens, of 4"),
        (_more_words, Invalid, "is no token id within 0..106"),
    ],
)
@pytest.mark.parametrize("recipe", ["torch-fp32", "torch-bf16"])
def test_what_would_answer_wrongly_is_not_built(
    tmp_path: Path,
    recipe: str,
    make: Callable[[Path], Path],
    error: type[SlipwayError],
    said: str,
) -> None:
    source, store = make(tmp_path / "candidate"), Store(tmp_path / "store")
    with pytest.raises(error) as caught:
        build(Recipe.parse(recipe), Candidate(model="m", version=1), source, TEXTS, store)
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_pooler_that_is_not_there_is_not_drawn_at_random(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "candidate", "bert-mean")
    tensors = load_file(folder / WEIGHTS)
    kept = {name: one for name, one in tensors.items() if not name.startswith("pooler")}
    assert len(kept) < len(tensors)
    save_file(kept, folder / WEIGHTS, {"format": "pt"})
    for place in (tmp_path / "one", tmp_path / "other"):
        place.mkdir()
        quantize_linears(folder, place, Purpose(task=VECTOR))
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "other" / WEIGHTS).read_bytes()
    assert "pooler" not in str(list(read_model(folder, torch.float32, VECTOR).state_dict()))


def test_ids_hold_no_padding(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "candidate", "roberta")
    tokens = Tokens(folder, {"pad_token_id": PADDING}, 40)
    assert tokens.given([[2, 5, 3]], spans=False)
    with pytest.raises(ValueError, match=r"item 1 holds padding \(1\)"):
        tokens.given([[2, 5, 3], [2, PADDING, 3]], spans=False)


def test_a_text_has_only_ids_that_the_model_knows(tmp_path: Path) -> None:
    folder = make_family(tmp_path / "candidate", "roberta")
    tokens = Tokens(folder, {"vocab_size": len(VOCABULARY) - 1}, 40)
    for spans in (False, True):
        assert tokens.items(["98"], spans=spans)
        with pytest.raises(ValueError, match="106 is no token id within 0..105"):
            tokens.items(["99"], spans=spans)
