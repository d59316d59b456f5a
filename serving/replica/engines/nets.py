"""What is made of an encoder's output, by the task, in padded batches or packed rows (torch).

A packed row is of shape [1, S]. Each text sees only itself, and its positions begin anew, so that
it gets the answer that it would get alone. Everything up to the answer is inside the net, so that
an exported graph gives no more than what is needed.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging

from release.errors import Unsafe
from release.variants import Pooling, Purpose, Task
from serving.replica.engines.port import Ids, Outputs

CLASSES: Mapping[Task, Any] = {
    Task.TEXT_CLASSIFICATION: AutoModelForSequenceClassification,
    Task.TOKEN_CLASSIFICATION: AutoModelForTokenClassification,
    Task.FEATURE_EXTRACTION: AutoModel,
}

POOLER = "pooler."
"""How the names of tensors begin that only other tasks than vectors need."""

MOST_NAMED = 4
"""Tensors that a sentence names."""

SLICED = "slipway_sliced"
"""Name by which transformers knows the attention that computes a row text by text."""


def read_model(folder: Path, dtype: torch.dtype, task: Task, **how: Any) -> Any:
    """Read plain weights into a model that is ready to answer.

    Args:
        folder: with `config.json` and `model.safetensors`.
        dtype: of the model, whatever its files were stored in.
        task: what its head is for.
        how: more for `from_pretrained`.

    Raises:
        Unsafe: a weight is missing or of another shape; it would be drawn at random.
    """
    # A log would keep the half lines of a bar, and the report is ours to make.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model, told = CLASSES[task].from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        dtype=dtype,
        **how,
    )
    lacking = [*told["missing_keys"], *(one[0] for one in told["mismatched_keys"])]
    if task == Task.FEATURE_EXTRACTION:
        lacking = [name for name in lacking if not name.startswith(POOLER)]
    if lacking:
        names = ", ".join(sorted(lacking)[:MOST_NAMED])
        raise Unsafe(
            f"model.safetensors lacks {len(lacking)} tensors that {task} needs: {names}.",
            "save the model together with its trained head",
        )
    return without_pooler(model, task).eval()


def without_pooler(model: Any, task: Task) -> Any:
    """Take away what vectors are not made with: it may be untrained, and is nobody's business."""
    if task == Task.FEATURE_EXTRACTION and getattr(model, "pooler", None) is not None:
        model.pooler = torch.nn.Identity()
    return model


def run(net: torch.nn.Module, inputs: Mapping[str, Ids], device: str = "cpu") -> Outputs:
    """Run a net on arrays; it answers in fp32 in any case."""
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(ids).to(device) for name, ids in inputs.items()}
        found: Outputs = net(**tensors).float().cpu().numpy()
    return found


class PaddedNet(torch.nn.Module):
    """Every text in a row of its own.

    Args:
        model: of transformers.
        purpose: what it is for.
    """

    def __init__(self, model: Any, purpose: Purpose) -> None:
        super().__init__()
        self.model = model
        self._purpose = purpose

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Give logits of shape [batch, labels] or [batch, length, labels], or vectors.

        Args:
            input_ids: int64 of shape [batch, length].
            attention_mask: 1 for a token and 0 for padding, of the same shape.
            token_type_ids: where the model knows any, of the same shape.
        """
        typed = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, **typed)
        if self._purpose.task != Task.FEATURE_EXTRACTION:
            logits: Tensor = found.logits
            return logits
        hidden: Tensor = found.last_hidden_state.float()
        if self._purpose.pooling == Pooling.CLS:
            return _scaled(hidden[:, 0], self._purpose)
        shares = attention_mask[:, None, :].to(hidden.dtype)
        return _scaled(_means(shares, hidden)[:, 0], self._purpose)


def _means(members: Tensor, hidden: Tensor) -> Tensor:
    """Average the vectors [.., S, width] of each group's members, 0 or 1 of shape [.., groups, S].

    An average of shares instead of a sum divided later: that stays within what int8 can hold.
    """
    shares = members / members.sum(dim=-1, keepdim=True).clamp(min=1)
    return shares @ hidden


def _scaled(vectors: Tensor, purpose: Purpose) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1) if purpose.normalize else vectors


Head = Callable[[Any, Tensor], Tensor]


def _bert(model: Any, firsts: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.bert.pooler(firsts[:, None]))
    return logits


def _distilbert(model: Any, firsts: Tensor) -> Tensor:
    logits: Tensor = model.classifier(torch.relu(model.pre_classifier(firsts)))
    return logits


def _roberta(model: Any, firsts: Tensor) -> Tensor:
    logits: Tensor = model.classifier(firsts[:, None])
    return logits


HEADS: Mapping[str, Head] = {
    "bert": _bert,
    "distilbert": _distilbert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
}
"""Model type to what makes logits of the first tokens; the types that can be packed."""

OFFSET = frozenset({"roberta", "xlm-roberta"})
"""Of these, which count positions from behind the padding's number."""

UNTYPED = frozenset({"distilbert"})
"""Of these, which know no token types; the others get zeros, as for a single text."""


class PackedNet(torch.nn.Module):
    """Several texts in one row.

    Args:
        model: of transformers, of a type that `HEADS` names; with the `SLICED` attention it
            computes text by text, with any other one under a mask.
        purpose: what it is for.
    """

    def __init__(self, model: Any, purpose: Purpose) -> None:
        super().__init__()
        self.model = model
        self._encoder = model.base_model
        self._purpose = purpose
        kind, config = model.config.model_type, model.config
        self._head = HEADS[kind]
        self._typed = kind not in UNTYPED
        self._first = config.pad_token_id + 1 if kind in OFFSET else 0
        self._sliced = config._attn_implementation == SLICED

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, segment_ids: Tensor, starts: Tensor
    ) -> Tensor:
        """Give logits of shape [texts, labels] or [1, S, labels], or vectors [texts, width].

        Args:
            input_ids: int64 of shape [1, S].
            position_ids: of each token within its text, int64 of shape [1, S].
            segment_ids: number of the text that each token is of, int64 of shape [1, S].
            starts: where each text begins, int64 of shape [texts].
        """
        typed = {"token_type_ids": torch.zeros_like(input_ids)} if self._typed else {}
        hidden = self._encoder(
            input_ids=input_ids,
            position_ids=position_ids + self._first,
            **typed,
            **self._sight(position_ids, segment_ids),
        ).last_hidden_state
        match self._purpose.task:
            case Task.TEXT_CLASSIFICATION:
                return self._head(self.model, hidden[0].index_select(0, starts))
            case Task.TOKEN_CLASSIFICATION:
                logits: Tensor = self.model.classifier(hidden)
                return logits
            case Task.FEATURE_EXTRACTION:
                return _scaled(self._pooled(hidden[0].float(), segment_ids, starts), self._purpose)

    def _sight(self, position_ids: Tensor, segment_ids: Tensor) -> dict[str, Any]:
        """Say which tokens see each other."""
        if not self._sliced:
            apart = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
            return {"attention_mask": apart}
        starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
        ends = [*starts[1:], position_ids.shape[1]]
        return {"slices": list(zip(starts, ends, strict=True))}

    def _pooled(self, hidden: Tensor, segment_ids: Tensor, starts: Tensor) -> Tensor:
        if self._purpose.pooling == Pooling.CLS:
            return hidden.index_select(0, starts)
        numbers = segment_ids[0].index_select(0, starts)
        return _means((numbers[:, None] == segment_ids).to(hidden.dtype), hidden)


def _sliced(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    slices: list[tuple[int, int]],
    scaling: float | None = None,
    **ignored: Any,
) -> tuple[Tensor, None]:
    """Attend within each slice [from, to) of a row; all are of shape [1, heads, S, size]."""
    del module, attention_mask, ignored
    found = torch.empty_like(query)
    for start, end in slices:
        found[:, :, start:end] = torch.nn.functional.scaled_dot_product_attention(
            query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scale=scaling
        )
    return found.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(SLICED, _sliced)
