"""Keys that a home makes by itself: one for its own clients, and the first one for whoever owns it.

Whoever may read the home folder stands above its rules, so that these prove nothing new.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from infra.callers.keys import Keys, NewKey
from infra.callers.pepper import split
from infra.files import write_atomic
from infra.ledger import Ledger
from infra.settings import Settings

OWN = "this home"
MAY = ("*/*:infer", "*/*:read", "*/*:metrics")
"""What the home's own clients do: `slipway traffic`, the demo, and a Prometheus beside it."""

FIRST = "first"


@contextmanager
def keys_of(settings: Settings) -> Iterator[Keys]:
    """Open the keys of a home."""
    ledger = Ledger.open(settings.ledger)
    try:
        yield Keys(ledger, settings.pepper_file)
    finally:
        ledger.close()


def keep_house_key(settings: Settings) -> None:
    """See that the home's own clients have a key that is good: a file for its owner alone.

    Raises:
        Unavailable: the ledger does not answer, or the pepper of other keys is gone.
    """
    with keys_of(settings) as keys:
        if keys.good(split(house_key(settings))[0], MAY):
            return
        made = keys.for_the_house(NewKey(name=OWN, scopes=MAY))
    settings.house_key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(settings.house_key, made.encode(), mode=0o600)


def house_key(settings: Settings) -> str:
    """Give the key of the home's own clients; empty where there is none."""
    try:
        return settings.house_key.read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        sys.stderr.write(f"{settings.house_key} cannot be read: {error.strerror}\n")
        return ""


def first_key(settings: Settings) -> str:
    """Make a first key, where nobody has one yet.

    Returns:
        The key, which is shown this once; empty where there are keys already.
    """
    with keys_of(settings) as keys:
        if any(one.made.name != OWN for one in keys.list()):
            return ""
        scopes = ("default/*:infer", "default/*:read")
        return keys.for_the_house(NewKey(name=FIRST, scopes=scopes))
