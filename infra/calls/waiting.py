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


class Busy(Unavailable):
    """Somebody else writes there; nothing was changed."""


class Unswept(Unavailable):
    """What was to be forgotten is found no more; the store's files still hold some of it."""
