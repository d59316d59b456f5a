"""What a model may be asked about: texts, or token ids that a client made itself. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from serving.gateway.dispatch import Refusal

T = TypeVar("T")

MOST_TEXTS = 64
"""Items, texts or rows of token ids, in one request."""

MOST_CHARACTERS = 100_000
"""Characters in one text; no tokenizer is asked to look at more."""

MOST_IDS = 32_768
"""Token ids in one row; a replica knows its model's own limit, which is lower."""

HIGHEST_ID = 2**31 - 1

TEXT, IDS, MASK = "text", "input_ids", "attention_mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """What a request asks about; one of the two is empty."""

    texts: list[str] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, said: str, hint: str) -> T:
    """Read a body of JSON.

    Args:
        decoder: of what it should be.
        body: as it came, inflated.
        said: what it does not do, for the sentence.
        hint: what would be right.

    Raises:
        Refusal: with status 400, saying what is wrong.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"{said}: {_unreadable(error, body)}.", hint) from error


def _unreadable(error: Exception, body: bytes) -> str:
    """Say why JSON cannot be read.

    msgspec looks for a character's other half even beyond the end, and calls it all truncated then.
    """
    if str(error) == "Input data was truncated" and body.rstrip().endswith(b"}"):
        return "it ends too early, or a text holds half a character (a lone surrogate)"
    return str(error)


def checked(texts: Sequence[Any]) -> list[str]:
    """Give the texts, if a model may be asked about each.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    _no_more(len(texts))
    for text in texts:
        _check(text)
    return list(texts)


def shaped_texts(texts: Sequence[Any], shape: Sequence[int]) -> list[str]:
    """Give the texts of a tensor.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    if not texts or list(shape) not in ([len(texts)], [len(texts), 1]):
        raise Refusal(
            400,
            f"Shape {list(shape[:8])} does not fit {len(texts)} texts.",
            f"it must be [n] or [n, 1], n within 1..{MOST_TEXTS}",
        )
    return checked(texts)


def _no_more(items: int) -> None:
    if items > MOST_TEXTS:
        raise Refusal(400, f"{items} texts in one request, of {MOST_TEXTS} at most.")


def _check(text: object) -> None:
    if not isinstance(text, str):
        raise Refusal(400, f"Each text must be a string, not {type(text).__name__}.")
    if len(text) > MOST_CHARACTERS:
        raise Refusal(400, f"A text has {len(text)} characters, of {MOST_CHARACTERS} at most.")
    if not text.strip():
        raise Refusal(400, "A text is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(400, f"A text is not Unicode: {error}.") from error


def checked_ids(rows: Sequence[Sequence[Any]]) -> list[list[int]]:
    """Give rows of token ids, if a model may be asked about each.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    _no_more(len(rows))
    for number, row in enumerate(rows):
        if not 1 <= len(row) <= MOST_IDS:
            said = f"Row {number} has {len(row)} token ids."
            raise Refusal(400, said, f"it must have 1..{MOST_IDS}")
        for one in row:
            # A bool is an int to Python, and no token id.
            if type(one) is not int or not 0 <= one <= HIGHEST_ID:
                said = f"Row {number} holds {str(one)[:40]!r}, which is no token id."
                raise Refusal(400, said, f"it must be a whole number within 0..{HIGHEST_ID}")
    return [list(row) for row in rows]


def shaped_ids(
    ids: Sequence[Any], shape: Sequence[int], mask: Sequence[Any] | None
) -> list[list[int]]:
    """Give the rows of an `input_ids` tensor [n, L], each without its padding.

    Args:
        ids: row by row.
        shape: n and L.
        mask: 1 for each token and 0 for each padding after them, [n, L] too; None has none.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != len(ids):
        raise Refusal(
            400,
            f"Shape {list(shape[:8])} does not fit {len(ids)} token ids.",
            f"it must be [n, length], n within 1..{MOST_TEXTS}",
        )
    _no_more(shape[0])
    width = shape[1]
    starts = range(0, len(ids), width)
    if mask is None:
        return checked_ids([ids[start : start + width] for start in starts])
    if len(mask) != len(ids):
        raise Refusal(400, f"{MASK} has {len(mask)} values, of {len(ids)} in {IDS}.")
    lengths = [_length(mask[start : start + width], start // width) for start in starts]
    return checked_ids(
        [ids[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    )


def _length(mask: Sequence[Any], row: int) -> int:
    """Count the ones of a row's mask, all of which must come first."""
    length = sum(1 for one in mask if type(one) is int and one == 1)
    if any(one != 1 for one in mask[:length]) or any(one != 0 for one in mask[length:]):
        raise Refusal(400, f"{MASK} of row {row} is not ones, and then zeros to its end.")
    return length
