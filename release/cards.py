"""Finds card numbers among digits, however these are grouped. Pure, and linear in the text.

Source: ISO/IEC 7812-1.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate, compress

from release.separators import ANY, BETWEEN, PLAIN

CARD = "[card]"
LONGEST, SHORTEST = 19, 13
"""Digits."""

_APART = f" {'0' * (LONGEST + 1)} "
"""Keeps runs of digits apart that are looked at together: a group longer than any card."""

_DIGITS = re.compile(rf"(?<![0-9])[0-9](?:[{BETWEEN}]?[0-9])++")
_FIRST = re.compile("[3-6][0-9]{3}|2[2-7][0-9]{2}|8[12][0-9]{2}")
"""Four digits that a card begins with; no year of ours."""

_GROUPED = re.compile(
    rf"(?<![0-9])[0-9]{{4}}(?P<by>[{ANY}]{{1,3}})[0-9]{{4,6}}(?![0-9])"
    r"(?:(?P=by)[0-9]{4,6}(?![0-9]))++(?:(?P=by)[0-9]{3}(?![0-9]))?+"
)
"""Groups as they are printed on cards, with whatever always stands between them."""

_ONCE = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_IS_DIGIT = bytes(chr(code).isdigit() for code in range(128)).ljust(256, b"\0")
_IS_BETWEEN = bytes(not one for one in _IS_DIGIT)
_NO_END, _NO_BEGIN = (bytes.maketrans(b"\0\1", bytes((mark, 0))) for mark in (0xF0, 0xE0))
"""What marks a place that is no boundary of a group, unlike any sum and unlike each other."""

_BIT_WHERE_SAME = [bytes((1 << bit,)).ljust(256, b"\0") for bit in range(8)]
_MARKED = re.compile(rb"[^\0]")


def without_cards(text: str) -> str:
    """Replace the cards in a text by `[card]`."""
    text = _without(text, _DIGITS.finditer(text))
    return _without(text, _GROUPED.finditer(text), begins=_FIRST)


def _without(
    text: str, found: Iterable[re.Match[str]], begins: re.Pattern[str] | None = None
) -> str:
    """Replace the cards in runs of digits, which other numbers may stand right beside.

    Args:
        text: all of it.
        found: its runs.
        begins: what a card begins with; None for any digit.
    """
    runs = [one for one in found if one.end() - one.start() >= SHORTEST]
    if not runs:
        return text
    done, parts, lies = 0, list[str](), 0
    cards = _cards(_APART.join(one[0] for one in runs).translate(PLAIN))
    card = next(cards, None)
    for run in runs:
        moved = run.start() - lies
        lies += len(run[0]) + len(_APART)
        while card is not None and card[0] < lies:
            start, end = card[0] + moved, card[1] + moved
            if begins is None or begins.match(text, start):
                parts += [text[done:start], CARD]
                done = end
            card = next(cards, None)
    return "".join([*parts, text[done:]])


def _cards(run: str) -> Iterator[tuple[int, int]]:
    """Find cards in a run of digits: whole groups of them, 13 to 19 digits, with Luhn's check.

    Every second digit counts double, from the last but one: which these are is known only at the
    end, so both sums are kept. What lies between two places is the difference of the sums up to
    them; for each length those of all places are compared at once, as one long number each, which
    is 0 in the bytes where they are the same.

    Yields:
        Where each begins and ends, the longest of those that begin first.
    """
    text = run.encode()
    digits = text.translate(_IS_DIGIT)
    places = list(compress(range(len(text)), digits))
    bounds = b"\1" + bytes(compress(text[1:].translate(_IS_BETWEEN) + b"\1", digits))
    same, other = _sums(text.translate(None, b" "))
    ends = _or(same, bounds.translate(_NO_END))
    begins = [_or(one, bounds.translate(_NO_BEGIN)) for one in (same, other)]
    lengths = 0
    for bit, n in enumerate(range(SHORTEST, LONGEST + 1)):
        differ = _xor(begins[n % 2], ends[n:])
        lengths |= int.from_bytes(differ.translate(_BIT_WHERE_SAME[bit]), "little")
    marks, at = lengths.to_bytes(len(ends), "little"), 0
    while card := _MARKED.search(marks, at):
        # The longest, from here.
        at = card.start() + SHORTEST - 1 + card[0][0].bit_length()
        yield places[card.start()], places[at - 1] + 1


def _sums(digits: bytes) -> tuple[bytes, bytes]:
    """Give Luhn's sums of all digits before each place, and before none, modulo 10.

    Returns:
        Those that a card has which ends an even number of digits from there, or begins there; and
        those of one that ends an odd number away.
    """
    doubled, once = digits.translate(_DOUBLED), digits.translate(_ONCE)
    found = []
    for first in (0, 1):
        values = bytearray(once)
        values[first::2] = doubled[first::2]
        found.append(bytearray(one % 10 for one in accumulate(values, initial=0)))
    even, odd = found
    even[1::2], odd[1::2] = odd[1::2], even[1::2]
    return bytes(even), bytes(odd)


def _or(one: bytes, other: bytes) -> bytes:
    joined = int.from_bytes(one, "little") | int.from_bytes(other, "little")
    return joined.to_bytes(len(one), "little")


def _xor(one: bytes, other: bytes) -> bytes:
    """Give what differs, up to the end of the shorter, the other."""
    joined = int.from_bytes(one[: len(other)], "little") ^ int.from_bytes(other, "little")
    return joined.to_bytes(len(other), "little")
