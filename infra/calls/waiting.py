"""How long is waited for a call store that somebody else has, and what is said then.

Unavailable         of release.errors
├── Busy            somebody else writes there; nothing was changed
└── Unswept         all that was to be forgotten is out of the search, not yet out of the files
"""

from release.errors import Unavailable

LOCK_SECONDS = 20.0
"""For how long whoever writes waits for others that do."""

READER_SECONDS = 2.0
"""For how long a reader waits to fold what is new, before it goes by what is folded."""


STAYS = "What is erased is found no more; the call store's files hold it still, being read."
FOLLOWS = "an indexer takes it out once nobody reads what was there before, and looks every 10 min"


def say_nothing(_said: str) -> None:
    """Tell nobody."""


class Busy(Unavailable):
    """Somebody else writes there; nothing was changed."""


class Unswept(Unavailable):
    """What was to be forgotten is found no more; the store's files still hold some of it."""
