"""Texts to token ids, by the tokenizer that lies beside the weights."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from release.errors import Unsafe
from serving.replica.choosing import SHAPES, Layout, Packed, Padded, texts_in
from serving.replica.engines.port import Ids


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
        self.longest = longest
        self._padded = Padded(longest=longest)
        self._packed = Packed(rows=rows) if rows else None
        self.layout: Layout = self._packed or self._padded
        """What a batch must keep to."""

    @property
    def packs(self) -> bool:
        """Whether several texts go into one row."""
        return self._packed is not None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give each text's ids, special tokens included."""
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]

    def lay(self, batch: Sequence[Sequence[int]]) -> dict[str, Ids]:
        """Lay ids out as the layout says; the logits' first rows are theirs, in order."""
        return self.pack(batch) if self._packed else self.pad(batch)

    def probes(self) -> Iterator[dict[str, Ids]]:
        """Give one text, or a few tokens of it, in every shape that there is."""
        (probe,) = self.encode(["warm"])
        if self._packed:
            for row in self._packed.rows:
                yield self._row([probe[: self.longest]], row)
            return
        for shape in (*SHAPES, self.longest):
            if shape <= self.longest:
                length = max(1, shape - 1)
                yield self.pad([(probe * length)[:length]])

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
        length = self._padded.rounded(max(map(len, batch)))
        ids = np.full((len(batch), length), self._pad, dtype=np.int64)
        mask = np.zeros((len(batch), length), dtype=np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask}
        if self._types:
            arrays["token_type_ids"] = np.zeros_like(ids)
        return arrays
