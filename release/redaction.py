"""Takes out of a text what looks like personal data or a secret. Pure, and the same every time.

Recognisers are shapes with a check where there is one (Luhn's, that of a Chinese id), so that they
know no names and no addresses. Each takes time in proportion to the text, whatever it holds: their
repeats are possessive or bounded, or can begin at one place of a run only.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv6Address

EMAIL, PHONE, CARD, ID, IP, KEY = "[email]", "[phone]", "[card]", "[id]", "[ip]", "[key]"

LONGEST_CARD, SHORTEST_CARD = 19, 13
"""Digits."""

_HAS_WIDE = re.compile("[０-９Ａ-Ｚａ-ｚ＠．＋－＿％]")
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if _HAS_WIDE.match(chr(code))}
"""Full-width forms, as Chinese keyboards make them, to plain ones; punctuation is left alone."""

_HAS_NUMBER = re.compile(r"[0-9](?:[^0-9]{0,2}[0-9]){6}")
"""Whatever is shorter is no phone, card or id."""

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
_GROUP = re.compile(r"[0-9]++")
_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{3,45}+(?:(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z])")
_PHONES = re.compile(
    r"(?<![0-9+])(?:"
    r"(?:\+?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"
    r"|(?:\+|00)[1-9][0-9]{0,2}(?:[ ().-]{0,2}[0-9]){6,14}"
    r"|(?:\([0-9]{3}\)[ ]?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}"
    r")(?![0-9])"
)

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_LAST = "10X98765432"
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def lacks_something(text: str) -> bool:
    """Whether something was taken out of a redacted text."""
    return any(one in text for one in (EMAIL, PHONE, CARD, ID, IP, KEY))


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
    text = _DIGITS.sub(_without_cards, text)
    return _PHONES.sub(PHONE, text)


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
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _without_cards(run: re.Match[str]) -> str:
    """Replace the cards in a run of digits, which other numbers may stand right beside."""
    text, done, parts = run[0], 0, list[str]()
    for start, end in _cards(text):
        if start >= done:
            parts += [text[done:start], CARD]
            done = end
    return "".join([*parts, text[done:]])


def _cards(run: str) -> Iterator[tuple[int, int]]:
    """Find what may be a card: whole groups of digits, 13 to 19 of them, with Luhn's check."""
    groups = [found.span() for found in _GROUP.finditer(run)]
    for first, (start, _) in enumerate(groups):
        if end := _card_end(run, groups, first):
            yield start, end


def _card_end(run: str, groups: list[tuple[int, int]], first: int) -> int:
    """Give where the longest card ends that begins with a group of digits; 0 where none does.

    Every second digit counts double, from the last but one: which these are is known only at the
    end, so both sums are kept.

    Source: ISO/IEC 7812-1.
    """
    count, sums, found = 0, [0, 0], 0
    for number in range(first, min(first + LONGEST_CARD, len(groups))):
        begin, end = groups[number]
        if count + end - begin > LONGEST_CARD:
            break
        for one in run[begin:end]:
            digit = ord(one) - 48
            sums[count % 2] += _DOUBLED[digit]
            sums[1 - count % 2] += digit
            count += 1
        if count >= SHORTEST_CARD and sums[count % 2] % 10 == 0:
            found = end
    return found
