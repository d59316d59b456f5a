"""What people, keyboards and pages put between the digits of one number. Pure.

Each name is the inside of a class of a regular expression.
"""

SPACES = " \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
HIDDEN = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
"""Seen by nobody, and copied along from pages."""

DASHES = "\\-\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d"
POINTS = "._\u00b7\u2022\u2027\u22c5\u30fb\uff0e"
BETWEEN = SPACES + HIDDEN + DASHES
"""What stands alone between two groups of any length."""

ANY = BETWEEN + POINTS + "/"
"""What stands between groups of a known length."""


def _characters(inside: str) -> set[str]:
    """Give every character of a class."""
    found, left = set[str](), inside.replace("\\-", "")
    while left:
        first, dash, last = left[:1], left[1:2], left[2:3]
        if dash == "-":
            found |= set(map(chr, range(ord(first), ord(last) + 1)))
            left = left[3:]
        else:
            found.add(first)
            left = left[1:]
    return found


PLAIN = {ord(one): " " for one in ("-", *_characters(ANY))}
"""Each of them to a space."""
