"""A tiny BERT whose weights are set by hand: it answers with the label that a text names.

The first layer spreads the mean of all tokens over each of them, every other layer passes its input
on, and the classifier reads one dimension a label. So it is a real model, made in milliseconds,
whose accuracy is known beforehand.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification

from tests.fakes.suite import LABELS

__all__ = ["LABELS", "make_tiny_model"]

HIDDEN = 32
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def make_tiny_model(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    longest_input: int = 128,
    forget: Sequence[str] = (),
) -> Path:
    """Write a candidate that intake accepts.

    Args:
        folder: where to.
        labels: at most 16, each a word.
        longest_input: most tokens that it takes.
        forget: labels whose word it does not know; such texts get the first label.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = ["about", "is", "number", "test", "live", "calibration", "the", "text", "a", "word"]
    vocabulary = {
        word: n for n, word in enumerate([*SPECIAL, *labels, *words, *map(str, range(400))])
    }
    save_tokenizer(vocabulary, folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=HIDDEN,
        max_position_embeddings=512,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: n for n, label in enumerate(labels)},
        architectures=["BertForSequenceClassification"],
    )
    model = BertForSequenceClassification(config)
    _set_weights(model, vocabulary, labels, forget)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "slipway.json").write_text(json.dumps({"longest_input": longest_input}))
    return folder


def save_tokenizer(vocabulary: dict[str, int], folder: Path) -> None:
    """Write a tokenizer of whole words, the special ones among them, into a folder."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _set_weights(
    model: Any,
    vocabulary: dict[str, int],
    labels: Sequence[str],
    forget: Sequence[str],
) -> None:
    with torch.no_grad():
        for name, weights in model.named_parameters():
            # Every LayerNorm keeps its ones; all else starts from nothing.
            if not name.endswith("LayerNorm.weight"):
                weights.zero_()
        embeddings = model.bert.embeddings.word_embeddings.weight
        embeddings[:, HIDDEN - 1] = 1.0
        for number, label in enumerate(labels):
            if label not in forget:
                embeddings[vocabulary[label]] = 0.0
                embeddings[vocabulary[label], number] = 1.0
        # Equal keys give equal attention, so that every token receives the mean of all.
        attention = model.bert.encoder.layer[0].attention
        attention.self.value.weight.copy_(torch.eye(HIDDEN))
        attention.output.dense.weight.copy_(4 * torch.eye(HIDDEN))
        model.bert.pooler.dense.weight.copy_(0.5 * torch.eye(HIDDEN))
        for number in range(len(labels)):
            model.classifier.weight[number, number] = 20.0
        model.classifier.bias[0] = 0.01
