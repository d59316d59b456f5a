"""What of a text can be searched for. Pure.

SQLite's and PostgreSQL's trigrams find any three characters inside a text, but nothing shorter, and
the most frequent Chinese words have two. So each two neighbouring characters of such a script are
kept as a word of their own.
"""

import re
import unicodedata

import msgspec

SHORTEST = 3
"""Characters that a trigram has."""

LONGEST = 500
"""Characters of a column by which calls are found: PostgreSQL's indexes take up to 2.7 kB."""

_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff"
_RUN = re.compile(f"[{_WIDE}]+")


_DOTTED = re.compile("i[\u0307]+")
_ONE_I = str.maketrans("İı", "ii")


def folded(text: str) -> str:
    """Give a text as it is searched: without case, and each character in its plain width.

    The four letters i of Turkish are one, so that a word is found in either case, whoever typed it.
    """
    if text.isascii():
        return text.lower().replace("\0", "\ufffd")
    plain = unicodedata.normalize("NFKC", text).translate(_ONE_I).casefold()
    # No index has a character 0, which PostgreSQL cannot hold and SQLite takes for an end.
    plain = unicodedata.normalize("NFKC", plain).replace("\0", "\ufffd")
    return _DOTTED.sub("i", plain)


def composed(name: str) -> str:
    """Give a name in one form of all that are written alike: `ë` may be one character or two."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def spellings(name: str) -> list[str]:
    """Give a name in all forms in which it may have been recorded, each once."""
    if name.isascii():
        return [name]
    return list({name: None, composed(name): None, unicodedata.normalize("NFD", name): None})


def column(value: object) -> object:
    """Give a value as PostgreSQL can hold it in a column, and find it there."""
    return value.replace("\0", "\ufffd")[:LONGEST] if isinstance(value, str) else value


def pairs(text: str) -> str:
    """Give a folded text's pairs of neighbouring wide characters, each once, apart by spaces.

    A wide character that stands alone, or ends a run, is given by itself as well, so that one
    character can be found too.
    """
    found: dict[str, None] = {}
    for run in _RUN.finditer(text):
        word = run[0]
        for place, character in enumerate(word):
            found[character] = None
            if place + 1 < len(word):
                found[word[place : place + 2]] = None
    return " ".join(found)


def is_short(term: str) -> bool:
    """Whether a folded term is too short for trigrams."""
    return len(term) < SHORTEST


def is_wide(term: str) -> bool:
    """Whether a folded term has nothing but wide characters."""
    return bool(term) and _RUN.fullmatch(term) is not None


def has_wide(term: str) -> bool:
    """Whether a folded term has a wide character, by which it is found however short it is."""
    return _RUN.search(term) is not None


def said_in(answer: bytes) -> list[str]:
    """Give the texts of an answer in its JSON, such as labels and what was generated, in order.

    The names of its fields are left out: these are the same in every answer.
    """
    try:
        left = [msgspec.json.decode(answer)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [answer.decode(errors="replace")]
    found: list[str] = []
    # Not by recursion: how deep it is was decided elsewhere.
    while left:
        match left.pop():
            case str(text):
                found.append(text)
            case list(parts):
                left += reversed(parts)
            case dict(fields):
                left += reversed(fields.values())
            case _:
                pass  # numbers say nothing that is searched for as text
    return found
