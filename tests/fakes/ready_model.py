"""A candidate that intake accepts, and that nothing could run: files of the right kinds."""

import json
from pathlib import Path

LABELS = ("alpha", "beta", "gamma")
"""As those of the tiny model, whose module imports torch."""


def make_ready_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    config = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": dict(enumerate(LABELS)),
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    return folder
