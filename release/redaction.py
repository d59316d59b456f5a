"""Takes out of a text what looks like personal data or a secret. Pure, and the same every time.

Recognisers are shapes with a check where there is one (Luhn's, that of a Chinese id), so that they
know no names and no addresses. Each takes time in proportion to the text, whatever it holds: their
repeats are possessive or bounded, or can begin at one place of a run only.
"""

import re
from collections.abc import Callable
from unicodedata import decimal

from release.cards import CARD, without_cards
from release.separators import ANY, BETWEEN, SPACES

EMAIL, PHONE, ID, IP, KEY = "[email]", "[phone]", "[id]", "[ip]", "[key]"

_DIGITS = (*range(0x80, 0x10000), *range(0x1D7CE, 0x1D800))
"""Where digits of other scripts, and of mathematics, are looked for; others nobody types."""

_FULL = "Ａ-Ｚａ-ｚ＠．＋－＿％"
_WIDE: dict[int, int | str] = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if re.match(f"[{_FULL}]", chr(code))},
    **{code: str(decimal(chr(code))) for code in _DIGITS if chr(code).isdecimal()},
    ord("﹫"): "@",
}
"""Full-width forms, as Chinese keyboards make them, and every script's digits to plain ones;
punctuation is left alone."""

_HAS_WIDE = re.compile(f"[{''.join(map(chr, _WIDE))}]")
_HAS_NUMBER = re.compile(r"[0-9](?:[^0-9]{0,3}[0-9]){6}")
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
_DOT = r"(?:\.|[。｡](?=[A-Za-z]{2}))"
"""The stop of a Chinese keyboard is one where no sentence of Chinese goes on after it."""

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+'-])[A-Za-z0-9._%+'-]++"
    rf"@(?:[A-Za-z0-9-]++(?:{_DOT}[A-Za-z0-9-]++)+|[^\W_]{{1,63}}(?:{_DOT}[^\W_]{{1,63}})+)"
)
_GAP = f"[{ANY}]{{0,2}}"
_DATE = f"(?:18|19|20)[0-9]{{2}}{_GAP}(?:0[1-9]|1[0-2]){_GAP}(?:0[1-9]|[12][0-9]|3[01])"
_ID = re.compile(
    rf"(?<![0-9A-Za-z])[1-9](?:[0-9]{{2}}{_GAP}[0-9]{{3}}{_GAP}{_DATE}{_GAP}[0-9]{{3}}"
    rf"|[0-9]{{3}}(?:[{ANY}]{{1,2}}[0-9]{{4}}){{3}}[{ANY}]{{1,2}}[0-9])[0-9Xx](?![0-9A-Za-z])"
)
"""As one number, with the place, the date and the rest apart, or in fours."""

_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]{3,45}+(?:(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z])")
_GROUPS = 8
_SOME_GROUPS = re.compile("[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4})*+")
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_BYTES = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_PHONES = re.compile(
    r"(?<![0-9+])(?:"
    rf"(?:(?:\(\+?86\)|\+?86)[{ANY}]{{0,3}}+)?"
    rf"(?:\(1[3-9][0-9]\)|1[3-9][0-9])(?:[{ANY}]{{0,3}}+[0-9]{{4}}){{2}}"
    rf"|\+[1-9][0-9]{{0,2}}(?:[{ANY}()]{{0,3}}[0-9]){{6,14}}"
    rf"|00[1-9][0-9]{{0,2}}(?:[{BETWEEN}().]{{0,2}}[0-9]){{6,14}}"
    rf"|(?:\([0-9]{{3}}\)[{SPACES}]?|[0-9]{{3}}[{ANY}])[0-9]{{3}}[{BETWEEN}.·][0-9]{{4}}"
    r")(?![0-9])"
)

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_LAST = "10X98765432"
_APART = re.compile("[^0-9Xx]+")


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
    return _PHONES.sub(PHONE, without_cards(_without_ids(text)))


def _without_ids(text: str) -> str:
    parts, done, at = list[str](), 0, 0
    while found := _ID.search(text, at):
        at = found.start() + 1  # one may begin within what is none
        if _is_id(found[0]):
            parts += [text[done : found.start()], ID]
            done = at = found.end()
    return "".join([*parts, text[done:]])


def _checked(good: Callable[[str], bool], placeholder: str) -> Callable[[re.Match[str]], str]:
    return lambda found: placeholder if good(found[0]) else found[0]


def _is_id(text: str) -> bool:
    """Check a Chinese id: its last place, and that its day of birth may be one.

    Source: GB 11643-1999.
    """
    text = _APART.sub("", text)
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
