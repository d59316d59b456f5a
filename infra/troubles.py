"""What is amiss in one process: since when, and what to do about it; gone once it is well."""

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from release.errors import SlipwayError


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is amiss."""

    what: str
    """What is not done or not so, such as `calls are not folded`; there is one trouble of it."""

    why: str
    """One sentence, with what to do about it."""

    since: float
    """Seconds since the epoch."""


class Troubles:
    """Everything that is amiss in a process; one thread notes, any may look.

    Args:
        clock: gives seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._there: dict[str, Trouble] = {}

    def note(self, what: str, why: str) -> bool:
        """Note why something is amiss; empty: it is well again.

        Returns:
            Whether this says anything new of what is amiss.
        """
        known = self._there.get(what)
        if not why:
            self._there.pop(what, None)
            return False
        if known is not None and known.why == why:
            return False
        since = known.since if known is not None else self._clock()
        self._there[what] = Trouble(what=what, why=why, since=since)
        return True

    def keep(self, found: Mapping[str, str]) -> None:
        """Note all that is amiss now; whatever is not named is well."""
        for what in self._there.keys() - found.keys():
            self._there.pop(what, None)
        for what, why in found.items():
            self.note(what, why)

    def of(self, what: str) -> Trouble | None:
        """Give what is amiss of something; None where it is well."""
        return self._there.get(what)

    def all(self) -> list[Trouble]:
        """Give everything that is amiss, what began first before all others."""
        return sorted(self._there.values(), key=lambda one: one.since)


def said(error: SlipwayError | OSError) -> str:
    """Say what went wrong in one sentence."""
    if isinstance(error, SlipwayError):
        return str(error)
    why = error.strerror or repr(error)
    return f"{error.filename}: {why}" if error.filename else why


def plain(troubles: Iterable[Trouble]) -> list[dict[str, object]]:
    """Give troubles as plain JSON data."""
    return [msgspec.to_builtins(one) for one in troubles]


def read(told: object) -> list[Trouble]:
    """Read what `plain` gave; nothing where it is no such thing."""
    try:
        return msgspec.convert(told, type=list[Trouble])
    except msgspec.ValidationError:
        return []
