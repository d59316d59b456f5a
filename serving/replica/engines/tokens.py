"""Texts to token ids, by the tokenizer that lies beside the weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from release.errors import Unsafe
from serving.replica.choosing import SHAPES, Layout, Packed, Padded, texts_in
from serving.replica.engines.port import Ids, Outputs

Span = tuple[int, int]
"""Where a token begins and ends; of a special token both are `NOWHERE`."""

NOWHERE = -1

FEW = 3
"""Tokens of a text that only tries something out."""

PER_TEXT = 2
"""Dimensions of what an engine found, where it is one row for each text."""


@dataclass(frozen=True, slots=True)
class Item:
    """A text, or what a client gives in its place, as tokens."""

    ids: list[int]
    spans: list[Span] | None = None
    """Of each token, in characters of a text or in places among ids; None where nobody asks."""


def apart(batch: Sequence[Sequence[int]], found: Outputs) -> list[Outputs]:
    """Give each text's share of what was found where each has a row of its own."""
    if found.ndim == PER_TEXT:
        return list(found[: len(batch)])
    return [row[: len(ids)] for row, ids in zip(found, batch, strict=True)]


def _trimmed(text: str, span: Span) -> Span:
    """Leave out the white space that some tokenizers count to the word behind it."""
    start, end = span
    part = text[start:end]
    return end - len(part.lstrip()), max(end - len(part.lstrip()), start + len(part.rstrip()))


class Tokens:
    """Texts to token ids, and ids to the arrays that an engine takes.

    Args:
        folder: with `tokenizer.json`.
        config: of the model.
        longest: most tokens of a text.
        rows: sizes of the rows into which texts are packed; none where they are padded.
    """

    def __init__(
        self, folder: Path, config: dict[str, Any], longest: int, rows: tuple[int, ...] = ()
    ) -> None:
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
        self._known_pad = config.get("pad_token_id")
        known = self._tokenizer.get_vocab()
        self._words = int(config.get("vocab_size") or len(known))
        self._knows_more = max(known.values(), default=0) >= self._words
        """Whether a text may have ids that the model does not know."""

        self._special = self._specials()
        self.longest = longest
        self._padded = Padded(longest=longest)
        self._packed = Packed(rows=rows) if rows else None
        self.layout: Layout = self._packed or self._padded
        """What a batch must keep to."""

    @property
    def packs(self) -> bool:
        """Whether several texts go into one row."""
        return self._packed is not None

    def _specials(self) -> frozenset[int]:
        """Ids that stand for no part of a text."""
        around = self._tokenizer.encode("")
        named = self._tokenizer.get_added_tokens_decoder()
        marked = zip(around.ids, around.special_tokens_mask, strict=True)
        return frozenset(one for one, mark in marked if mark) | frozenset(
            number for number, token in named.items() if token.special
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give each text's ids, special tokens included."""
        return [one.ids for one in self._tokenizer.encode_batch_fast(list(texts))]

    def items(self, texts: Sequence[str], *, spans: bool) -> list[Item]:
        """Give each text's tokens, and where they lie in it if somebody asks.

        Raises:
            ValueError: one has a token that is no id of this model; says which.
        """
        found = self._items(texts) if spans else [Item(ids) for ids in self.encode(texts)]
        if self._knows_more:
            for one in found:
                self._check(one.ids)
        return found

    def _items(self, texts: Sequence[str]) -> list[Item]:
        return [
            Item(
                one.ids,
                [
                    (NOWHERE, NOWHERE) if special else _trimmed(text, span)
                    for span, special in zip(one.offsets, one.special_tokens_mask, strict=True)
                ],
            )
            for text, one in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True)
        ]

    def given(self, ids: Sequence[list[int]], *, spans: bool) -> list[Item]:
        """Take ids that a client made.

        Raises:
            ValueError: there are none, one is padding or no id of this model; says which.
        """
        for number, one in enumerate(ids):
            if not one:
                raise ValueError(f"item {number} has no token ids")
            self._check(one)
            if self._known_pad in one:
                raise ValueError(f"item {number} holds padding ({self._known_pad}); leave it out")
        return [Item(one, self._places(one) if spans else None) for one in ids]

    def _check(self, ids: Sequence[int]) -> None:
        if ids and not 0 <= min(ids) <= max(ids) < self._words:
            odd = next(token for token in ids if not 0 <= token < self._words)
            raise ValueError(f"{odd} is no token id within 0..{self._words - 1}")

    def _places(self, ids: Sequence[int]) -> list[Span]:
        nowhere = (NOWHERE, NOWHERE)
        return [
            nowhere if token in self._special else (place, place + 1)
            for place, token in enumerate(ids)
        ]

    def lay(self, batch: Sequence[Sequence[int]]) -> dict[str, Ids]:
        """Lay ids out as the layout says."""
        return self.pack(batch) if self._packed else self.pad(batch)

    def shares(self, batch: Sequence[Sequence[int]], found: Outputs) -> list[Outputs]:
        """Give each text's share of what an engine found.

        Args:
            batch: that was laid out.
            found: of it.

        Returns:
            Of each, of shape [labels], [its tokens, labels] or [width].
        """
        if found.ndim == PER_TEXT or not self._packed:
            return apart(batch, found)
        ends = np.cumsum([len(ids) for ids in batch]).tolist()
        return [found[0, end - len(ids) : end] for end, ids in zip(ends, batch, strict=True)]

    def probe(self, length: int) -> list[int]:
        """Give ids of about so many tokens, no more than a text may have."""
        (some,) = self.encode(["warm"])
        most = max(1, min(length, self.longest))
        return (some * most)[:most]

    def probes(self) -> Iterator[tuple[list[int], dict[str, Ids]]]:
        """Give a text of few tokens, or of as many as there is room for, in every shape."""
        if self._packed:
            for row in self._packed.rows:
                ids = self.probe(FEW)
                yield ids, self._row([ids], row)
            return
        for shape in (*SHAPES, self.longest):
            if shape <= self.longest:
                ids = self.probe(shape - 1)
                yield ids, self.pad([ids])

    def first_row(self, batch: Sequence[list[int]]) -> list[list[int]]:
        """Give as many texts, from the first on, as one row holds."""
        row: list[list[int]] = []
        for ids in batch:
            if row and not self.layout.joins([len(one) for one in row], len(ids)):
                break
            row.append(ids)
        return row

    def pack(self, batch: Sequence[Sequence[int]]) -> dict[str, Ids]:
        """Lay ids one behind the other in a row of shape [1, S], the size one of few."""
        if self._packed is None:
            raise ValueError("these texts are padded; there are no rows to pack them into")
        return self._row(batch, self._packed.row([len(ids) for ids in batch]))

    def _row(self, batch: Sequence[Sequence[int]], size: int) -> dict[str, Ids]:
        ids = np.full((1, size), self._pad, dtype=np.int64)
        # What is left of the row is a text of its own, number 0, that nobody asks for.
        positions, segments = np.zeros_like(ids), np.zeros_like(ids)
        starts = np.zeros(texts_in(size), dtype=np.int64)
        start = 0
        for number, tokens in enumerate(batch):
            end = start + len(tokens)
            ids[0, start:end] = tokens
            positions[0, start:end] = np.arange(len(tokens))
            segments[0, start:end] = number + 1
            starts[number] = start
            start = end
        return {
            "input_ids": ids,
            "position_ids": positions,
            "segment_ids": segments,
            "starts": starts,
        }

    def pad(self, batch: Sequence[Sequence[int]]) -> dict[str, Ids]:
        """Lay ids out as arrays of shape [batch, length], the length one of few."""
        return self._pad_to(self._padded.rounded(max(map(len, batch))), batch)

    def alone(self, ids: Sequence[int]) -> dict[str, Ids]:
        """Lay one text's ids out as arrays of shape [1, their number], without any padding."""
        return self._pad_to(len(ids), [ids])

    def _pad_to(self, length: int, batch: Sequence[Sequence[int]]) -> dict[str, Ids]:
        ids = np.full((len(batch), length), self._pad, dtype=np.int64)
        mask = np.zeros((len(batch), length), dtype=np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask}
        if self._types:
            arrays["token_type_ids"] = np.zeros_like(ids)
        return arrays
