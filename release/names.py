"""Names that people typed, held against those that there are. Pure."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from release.callers import Scope

LONGEST = 100
"""Characters of a name that is looked at, and said."""

MOST_NAMED = 10
"""Names that a hint has room for."""


def meant(name: str, known: Iterable[str]) -> str:
    """Say which name was meant by one that there is not: the nearest, else those that there are."""
    names = sorted(set(known))
    if near := get_close_matches(name[:LONGEST], names, n=1, cutoff=0.6):
        return f"did you mean {near[0]!r}?"
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
