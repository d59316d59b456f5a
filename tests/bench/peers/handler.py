"""What every peer serves: texts in, a label and its score for each out. Nothing of serving itself.

Runs in a peer's own environment, which has none of our packages. An openvino graph, a model of
transformers on torch, or nothing at all; one compute thread, on the cores that the caller is given.
"""

import json
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

LABEL = {"label": "alpha", "score": 0.75}
"""What the model that computes nothing finds."""

STEP = 16
"""Padded lengths are multiples of this: openvino pays for each new shape."""


def stay_on(cores: str) -> None:
    """Keep every thread of this process, and those to come, on cores such as `0` or `0,1`."""
    wanted = {int(core) for core in cores.split(",")}
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), wanted)


class Model:
    """A loaded model.

    Args:
        engine: `openvino`, `torch` or `null`.
        folder: of the model; not looked at where nothing is computed.
    """

    def __init__(self, engine: str, folder: str) -> None:
        place = Path(folder)
        self._engine = engine
        if engine == "null":
            return
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        names = config["id2label"]
        self._labels = [names[str(number)] for number in range(len(names))]
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        self._tokenizer.no_truncation()
        step = STEP if engine == "openvino" else None
        self._tokenizer.enable_padding(pad_to_multiple_of=step)
        if engine == "openvino":
            self._load_openvino(place)
        else:
            self._load_torch(place)

    def _load_openvino(self, place: Path) -> None:
        import openvino

        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
        }
        made = openvino.Core().compile_model(place / "model.xml", "CPU", options)
        self._request = made.create_infer_request()
        self._takes = {name for port in made.inputs for name in port.get_names()}

    def _load_torch(self, place: Path) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(1)
        self._model = AutoModelForSequenceClassification.from_pretrained(
            place, local_files_only=True, attn_implementation="eager"
        ).eval()

    def tokens(self, text: str) -> int:
        """Count the tokens of a text, special ones included."""
        return sum(self._tokenizer.encode(text).attention_mask)

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Find the label of each text, all of them as one padded batch."""
        if self._engine == "null":
            return [LABEL] * len(texts)
        import numpy as np

        found = self._tokenizer.encode_batch(texts)
        inputs = {
            "input_ids": np.array([one.ids for one in found], dtype=np.int64),
            "attention_mask": np.array([one.attention_mask for one in found], dtype=np.int64),
            "token_type_ids": np.array([one.type_ids for one in found], dtype=np.int64),
        }
        logits = self._openvino(inputs) if self._engine == "openvino" else self._torch(inputs)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        return [
            {"label": self._labels[int(row.argmax())], "score": float(row.max())} for row in shares
        ]

    def _openvino(self, inputs: dict[str, Any]) -> Any:
        taken = {name: ids for name, ids in inputs.items() if name in self._takes}
        return self._request.infer(taken, share_inputs=True)[0]

    def _torch(self, inputs: dict[str, Any]) -> Any:
        import torch

        with torch.inference_mode():
            tensors = {name: torch.from_numpy(ids) for name, ids in inputs.items()}
            return self._model(**tensors).logits.float().numpy()


def given() -> Namespace:
    """Read what every peer is told."""
    parser = ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--spare-ports", type=_numbers, default=[], help="for what else it serves")
    parser.add_argument("--engine", choices=("openvino", "torch", "null"), required=True)
    parser.add_argument("--folder", default="", help="of the model")
    parser.add_argument("--core", required=True, help="of the processes that compute")
    parser.add_argument("--batches", type=_numbers, default=[1], help="sizes; 1 is no batching")
    parser.add_argument("--wait-ms", type=float, default=5.0, help="for a batch to fill")
    parser.add_argument("--mode", default="", help="what else a peer may try")
    parser.add_argument("--defaults", action="store_true", help="as it ships")
    parser.add_argument("--scratch", required=True, help="folder of its own")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]
