"""What runs the weights, behind one port.

Neither engine tokenises and neither knows of requests: token ids in, logits out. Each library is
imported by the engine that needs it, so that a process with one engine stays small.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from release.errors import Unsafe
from release.variants import Engine as EngineName
from release.variants import Manifest, Recipe

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]

SHAPES = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""Padded lengths: each new shape costs a compiled engine time, so that there are few."""


class Engine(Protocol):
    """A loaded model."""

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Map token ids to logits.

        Args:
            inputs: `input_ids`, `attention_mask` and, where known, `token_type_ids`, each of shape
                [batch, length].

        Returns:
            Logits of shape [batch, labels].
        """
        ...

    def close(self) -> None:
        """Let go of its memory."""
        ...


class Torch:
    """The weights as they were trained, run by transformers."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification

        torch.set_num_threads(threads)
        self._torch = torch
        self._model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).eval()

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Run the model."""
        torch = self._torch
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(ids) for name, ids in inputs.items()}
            logits: Logits = self._model(**tensors).logits.float().numpy()
        return logits

    def close(self) -> None:
        """Let go of the model."""
        del self._model


class OpenVino:
    """A converted graph, run by OpenVINO on the CPU."""

    def __init__(self, folder: Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self._model = core.compile_model(core.read_model(folder / "model.xml"), "CPU", options)
        self._request = self._model.create_infer_request()
        self._takes = {name for port in self._model.inputs for name in port.get_names()}

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Run the graph."""
        taken = {name: ids for name, ids in inputs.items() if name in self._takes}
        found = self._request.infer(taken, share_inputs=True)
        logits: Logits = np.array(found[self._model.output(0)], dtype=np.float32)
        return logits

    def close(self) -> None:
        """Let go of the graph."""
        del self._request, self._model


def load(folder: Path, manifest: Manifest, threads: int) -> Engine:
    """Load a verified variant with the engine of its recipe."""
    match Recipe.parse(manifest.recipe).engine:
        case EngineName.TORCH:
            return Torch(folder, threads)
        case EngineName.OPENVINO:
            return OpenVino(folder, threads)


class Tokens:
    """Texts to token ids, by the tokenizer that lies beside the weights."""

    def __init__(self, folder: Path, config: dict[str, Any], longest: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain exceptions
            raise Unsafe(f"{folder}/tokenizer.json cannot be read: {error}.") from error
        # Nothing is ever cut, and padding is ours: whatever the file says of either is not asked.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._pad = int(config.get("pad_token_id") or 0)
        self._types = int(config.get("type_vocab_size") or 0) > 0
        self.longest = longest

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give each text's ids, special tokens included."""
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]

    def pad(self, batch: Sequence[Sequence[int]]) -> dict[str, Ids]:
        """Lay ids out as arrays of shape [batch, length], the length one of few."""
        longest = max(map(len, batch))
        fitting = (shape for shape in SHAPES if shape >= longest)
        length = min(next(fitting, longest), max(self.longest, longest))
        ids = np.full((len(batch), length), self._pad, dtype=np.int64)
        mask = np.zeros((len(batch), length), dtype=np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask}
        if self._types:
            arrays["token_type_ids"] = np.zeros_like(ids)
        return arrays


def finite(logits: Logits) -> Logits:
    """Give logits back, or refuse them.

    Raises:
        ArithmeticError: one of them is not a number, or infinite.
    """
    if not np.isfinite(logits).all():
        raise ArithmeticError("the model gave numbers that are not finite")
    return logits


def softmax(logits: Logits) -> Logits:
    """Turn logits of shape [batch, labels] into probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Logits = powers / powers.sum(axis=1, keepdims=True)
    return shares
