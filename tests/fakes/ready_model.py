"""A candidate that intake accepts, and that nothing could run: files of the right kinds."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from release.variants import Task

LABELS = ("alpha", "beta", "gamma")
"""As those of the tiny model, whose module imports torch."""


ARCHITECTURES = {
    Task.TEXT_CLASSIFICATION: "BertForSequenceClassification",
    Task.TOKEN_CLASSIFICATION: "BertForTokenClassification",
    Task.FEATURE_EXTRACTION: "BertModel",
}


def make_ready_model(
    folder: Path, task: Task = Task.TEXT_CLASSIFICATION, labels: Sequence[str] = LABELS
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    config = {
        "architectures": [ARCHITECTURES[task]],
        "id2label": dict(enumerate(labels)),
        "hidden_size": 32,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(config))
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    return folder
