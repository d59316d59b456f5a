"""Names that people typed, held against those that there are. Pure."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches

from release.callers import Scope

LONGEST = 100
"""Characters of a name that is looked at, and said."""

MOST_NAMED = 10
"""Names that a hint has room for."""


def nearest(name: str, known: Iterable[str], form: Callable[[str], str] = str) -> str:
    """Give the name that is most like another; empty where none is.

    Args:
        name: as it was typed.
        known: those that there are; of some that have one form the last counts.
        form: in which they are compared.
    """
    forms = {form(one): one for one in known if one}
    found = get_close_matches(form(name), forms, n=1, cutoff=0.6)
    return forms[found[0]] if found else ""


def meant(name: str, known: Iterable[str]) -> str:
    """Say which name was meant by one that there is not: the nearest, else those that there are."""
    names = sorted(set(known))
    if near := nearest(name[:LONGEST], names):
        return f"did you mean {near!r}?"
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"there are: {', '.join(names[:MOST_NAMED])}{more}" if names else "there are none"


def opens_nothing(scope: Scope, owners: Mapping[str, str]) -> str:
    """Say why a scope opens no endpoint that there is yet; empty where it opens one.

    Args:
        scope: of a key.
        owners: every endpoint that there is, to the namespace that owns it.
    """
    if not scope.endpoint.strip("*"):
        return ""  # whatever the namespace owns, and be it nothing yet
    what = f"{scope.namespace}/{scope.endpoint}"
    matching = {name: owner for name, owner in owners.items() if scope.named(name)}
    if not matching:
        said = f"{what} opens nothing yet: there is no endpoint {scope.endpoint!r}"
        return f"{said} ({meant(scope.endpoint, owners)})"
    if scope.namespace in ("*", *matching.values()):
        return ""
    name, owner = min(matching.items())
    return f"{what} opens nothing yet: {name} belongs to {owner} ({owner}/{scope.endpoint})"
