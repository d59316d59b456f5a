"""Takes out of a text what looks like personal data or a secret. Pure, and the same every time.

Recognisers are shapes with a check where there is one (Luhn's, that of a Chinese id), so that they
know no names and no addresses. Each takes time in proportion to the text, whatever it holds: their
repeats are possessive or bounded, or can begin at one place of a run only.
"""

import re
from collections.abc import Callable, Iterator
from itertools import accumulate, compress

EMAIL, PHONE, CARD, ID, IP, KEY = "[email]", "[phone]", "[card]", "[id]", "[ip]", "[key]"

LONGEST_CARD, SHORTEST_CARD = 19, 13
"""Digits."""

_APART = f" {'0' * (LONGEST_CARD + 1)} "
"""Keeps runs of digits apart that are looked at together: a group longer than any card."""

_HAS_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠．＋－＿％]")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if _HAS_WIDE.match(chr(code))}
"""Full-width forms, as Chinese keyboards make them, to plain ones; punctuation is left alone."""

_HAS_NUMBER = re.compile(r"[0-9](?:[^0-9]{0,2}[0-9]){6}")
"""Whatever is shorter is no phone, card or id."""

_MARK = "['\"`\\[\\]{}\u2018-\u201f\u2039\u203a\u00ab\u00bb]"
_FOREIGN = (
    (re.compile(f"{_MARK}.*{_MARK}", re.DOTALL), "characters"),
    (re.compile(r"[^\x20-\x7e]+(?:.*[^\x20-\x7e])?", re.DOTALL), "characters"),
    (re.compile(r"[0-9]{8,}"), "digits"),
)
"""What a sentence may hold of somebody else's words, to what it is told as."""

_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}KEY-----|\Z)", re.DOTALL
)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]*+"
    r"|(?:AKIA|ASIA|AGPA|AIDA|AROA|AIPA|ANPA|ANVA)[A-Z0-9]{16}(?![A-Z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}"
    r"|github_pat_[A-Za-z0-9_]{22,255}"
    r"|slw_[a-z0-9_-]{1,63}_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"
    r"|sk-[A-Za-z0-9_-]{20,255}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,255}"
    r")"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+'-])[A-Za-z0-9._%+'-]++"
    r"@(?:[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)+|[^\W_]{1,63}(?:\.[^\W_]{1,63})+)"
)
_ID = re.compile(r"(?<![0-9A-Za-z])[1-9][0-9]{16}[0-9Xx](?![0-9A-Za-z])")
_DIGITS = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9])++")
_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{3,45}+(?:(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z])")
_GROUPS = 8
_SOME_GROUPS = re.compile("[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*+")
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_BYTES = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_PHONES = re.compile(
    r"(?<![0-9+])(?:"
    r"(?:\+?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"
    r"|(?:\+|00)[1-9][0-9]{0,2}(?:[ ().-]{0,2}[0-9]){6,14}"
    r"|(?:\([0-9]{3}\)[ ]?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}"
    r")(?![0-9])"
)

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_LAST = "10X98765432"
_ONCE = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_IS_DIGIT = bytes(chr(code).isdigit() for code in range(128)).ljust(256, b"\0")
_IS_BETWEEN = bytes(not one for one in _IS_DIGIT)
_NO_END, _NO_BEGIN = (bytes.maketrans(b"\0\1", bytes((mark, 0))) for mark in (0xF0, 0xE0))
"""What marks a place that is no boundary of a group, unlike any sum and unlike each other."""

_BIT_WHERE_SAME = [bytes((1 << bit,)).ljust(256, b"\0") for bit in range(8)]
_MARKED = re.compile(rb"[^\0]")


def lacks_something(text: str) -> bool:
    """Whether something was taken out of a redacted text."""
    return any(one in text for one in (EMAIL, PHONE, CARD, ID, IP, KEY))


def unquoted(sentence: str) -> str:
    """Give a sentence about a request without anything that may be out of the request.

    Sentences quote what a client said. So all goes from the first mark of a quotation to the last:
    what is quoted may hold marks itself, and be made so that they seem to end. What stands outside
    is ours but for long numbers, and ours is ASCII.

    Args:
        sentence: any.

    Returns:
        The sentence with `<n characters>` and `<n digits>` in their places; of one that was made
        so already the very same.
    """
    for shape, kind in _FOREIGN:
        sentence = shape.sub(lambda found, kind=kind: f"<{len(found[0])} {kind}>", sentence)  # type: ignore[misc]
    return sentence


def redacted(text: str) -> str:
    """Replace what looks like personal data or a secret.

    Args:
        text: any.

    Returns:
        The text with `[email]`, `[phone]`, `[card]`, `[id]`, `[ip]` and `[key]` in their places;
        the very text where nothing was found.
    """
    plain = text.translate(_WIDE) if _HAS_WIDE.search(text) else text
    found = _without_numbers(_without_words(plain))
    return text if found == plain else found


def _without_words(text: str) -> str:
    if "-----BEGIN " in text:
        text = _PEM.sub(KEY, text)
    text = _TOKENS.sub(KEY, text)
    return _EMAIL.sub(EMAIL, text) if "@" in text else text


def _without_numbers(text: str) -> str:
    if "::" in text or text.count(":") > 6:
        text = _IPV6.sub(_checked(_is_ipv6, IP), text)
    if text.count(".") > 2:
        text = _IPV4.sub(_checked(_is_ipv4, IP), text)
    if _HAS_NUMBER.search(text) is None:
        return text
    text = _ID.sub(_checked(_is_id, ID), text)
    return _PHONES.sub(PHONE, _without_cards(text))


def _checked(good: Callable[[str], bool], placeholder: str) -> Callable[[re.Match[str]], str]:
    return lambda found: placeholder if good(found[0]) else found[0]


def _is_id(text: str) -> bool:
    """Check a Chinese id: its last place, and that its day of birth may be one.

    Source: GB 11643-1999.
    """
    month, day = int(text[10:12]), int(text[12:14])
    total = sum(int(one) * weight for one, weight in zip(text, _WEIGHTS, strict=False))
    return 1 <= month <= 12 and 1 <= day <= 31 and _LAST[total % 11] == text[17].upper()


def _is_ipv4(text: str) -> bool:
    return all(int(part) < 256 for part in text.split("."))


def _is_ipv6(text: str) -> bool:
    """Check for eight groups, or fewer around one `::`; an IPv4 address may stand for the last two.

    Source: RFC 4291, 2.2.
    """
    if "." in text:
        text, _, last = text.rpartition(":")
        if _BYTES.fullmatch(last) is None:
            return False
        text += ":0:0"
    before, gap, after = text.partition("::")
    parts = [one for one in (before, after) if one]
    count = sum(one.count(":") + 1 for one in parts)
    enough = count < _GROUPS if gap else count == _GROUPS
    return enough and all(map(_SOME_GROUPS.fullmatch, parts))


def _without_cards(text: str) -> str:
    """Replace the cards in runs of digits, which other numbers may stand right beside."""
    runs = [one for one in _DIGITS.finditer(text) if one.end() - one.start() >= SHORTEST_CARD]
    if not runs:
        return text
    done, parts, lies = 0, list[str](), 0
    found = _cards(_APART.join(one[0] for one in runs))
    card = next(found, None)
    for run in runs:
        moved = run.start() - lies
        lies += len(run[0]) + len(_APART)
        while card is not None and card[0] < lies:
            parts += [text[done : card[0] + moved], CARD]
            done, card = card[1] + moved, next(found, None)
    return "".join([*parts, text[done:]])


def _cards(run: str) -> Iterator[tuple[int, int]]:
    """Find cards in a run of digits: whole groups of them, 13 to 19 digits, with Luhn's check.

    Every second digit counts double, from the last but one: which these are is known only at the
    end, so both sums are kept. What lies between two places is the difference of the sums up to
    them; for each length those of all places are compared at once, as one long number each, which
    is 0 in the bytes where they are the same.

    Source: ISO/IEC 7812-1.

    Yields:
        Where each begins and ends, the longest of those that begin first.
    """
    text = run.encode()
    digits = text.translate(_IS_DIGIT)
    places = list(compress(range(len(text)), digits))
    bounds = b"\1" + bytes(compress(text[1:].translate(_IS_BETWEEN) + b"\1", digits))
    same, other = _sums(text.translate(None, b" -"))
    ends = _or(same, bounds.translate(_NO_END))
    begins = [_or(one, bounds.translate(_NO_BEGIN)) for one in (same, other)]
    lengths = 0
    for bit, n in enumerate(range(SHORTEST_CARD, LONGEST_CARD + 1)):
        differ = _xor(begins[n % 2], ends[n:])
        lengths |= int.from_bytes(differ.translate(_BIT_WHERE_SAME[bit]), "little")
    marks, at = lengths.to_bytes(len(ends), "little"), 0
    while card := _MARKED.search(marks, at):
        # The longest, from here.
        at = card.start() + SHORTEST_CARD - 1 + card[0][0].bit_length()
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
