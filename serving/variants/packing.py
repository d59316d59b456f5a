"""Encoders that take several texts in one row, over the weights of the candidate itself.

A row is of shape [1, S]. Each text sees only itself, and its positions begin anew, so that it gets
the logits that it would get alone. Which token is of which text is all that crosses the border: the
mask of shape [S, S] is made inside the graph.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from serving.replica.choosing import FULL_ROW, SHAPES, rounded
from serving.replica.engines import Tokens
from serving.replica.engines.torch_float import read_model, run

MOST_ERROR = 1e-4
"""How far logits of a packed text may be from those of the text alone, in fp32."""

PROBED = 16
"""Texts that are compared before a candidate is packed."""

Head = Callable[[Any, Tensor], Tensor]


class PackedEncoder(torch.nn.Module):
    """A classifier that takes packed rows.

    Args:
        model: of transformers, of a type that `HEADS` names.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        kind = model.config.model_type
        self._encoder, self._head = getattr(model, kind), HEADS[kind]
        self._typed = kind in TYPED

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, segment_ids: Tensor, starts: Tensor
    ) -> Tensor:
        """Give logits of shape [texts, labels].

        Args:
            input_ids: int64 of shape [1, S].
            position_ids: of each token within its text, int64 of shape [1, S].
            segment_ids: number of the text that each token is of, int64 of shape [1, S].
            starts: where each text begins, int64 of shape [texts].
        """
        typed = {"token_type_ids": torch.zeros_like(input_ids)} if self._typed else {}
        hidden = self._encoder(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=segment_ids[:, None, :, None] == segment_ids[:, None, None, :],
            **typed,
        ).last_hidden_state
        return self._head(self.model, hidden[0].index_select(0, starts))


def _bert(model: Any, firsts: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.bert.pooler(firsts[:, None]))
    return logits


def _distilbert(model: Any, firsts: Tensor) -> Tensor:
    logits: Tensor = model.classifier(torch.relu(model.pre_classifier(firsts)))
    return logits


HEADS: dict[str, Head] = {"bert": _bert, "distilbert": _distilbert}
"""Model type to what makes logits of the first tokens; positions of these types are absolute."""

TYPED = frozenset({"bert"})
"""Model types with token types, all zero for a single text."""


def rows_of(longest: int) -> tuple[int, ...]:
    """Sizes of the rows for texts of at most so many tokens, smallest first."""
    most = max(FULL_ROW, rounded(longest, SHAPES, longest if longest > SHAPES[-1] else SHAPES[-1]))
    return tuple(dict.fromkeys([*(shape for shape in SHAPES if shape < most), most]))


def packed_encoder(source: Path, tokens: Tokens, ids: Sequence[list[int]]) -> PackedEncoder | None:
    """Read a candidate as an encoder of packed rows; None where that would change its answers.

    Args:
        source: candidate, checked.
        tokens: that pack.
        ids: of texts to compare with.
    """
    model = read_model(source, torch.float32, attn_implementation="sdpa")
    if model.config.model_type not in HEADS or getattr(model.config, "is_decoder", False):
        return None
    encoder = PackedEncoder(model).eval()
    return encoder if _gap(encoder, tokens, ids) <= MOST_ERROR else None


def gap(source: Path, tokens: Tokens, ids: Sequence[list[int]]) -> float:
    """Give how far packing alone, in fp32, moves the logits of a candidate that can be packed."""
    model = read_model(source, torch.float32, attn_implementation="sdpa")
    return _gap(PackedEncoder(model).eval(), tokens, ids)


def _gap(encoder: PackedEncoder, tokens: Tokens, ids: Sequence[list[int]]) -> float:
    found, batch = 0.0, list(ids[:PROBED])
    while batch:
        row = tokens.first_row(batch)
        batch = batch[len(row) :]
        inputs = {name: torch.from_numpy(one) for name, one in tokens.pack(row).items()}
        with torch.inference_mode():
            packed = encoder(**inputs).numpy()
        for place, one in enumerate(row):
            alone = run(encoder.model, tokens.pad([one]))
            found = max(found, float(abs(packed[place] - alone[0]).max()))
    return found
