"""Which call store there is: a file of this host, or a PostgreSQL that several hosts share."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from infra.calls.checkpoints import Signer
from infra.calls.chores import PAUSE_SECONDS
from infra.calls.folding import Folded
from infra.calls.link import Link
from infra.calls.neighbours import Last
from infra.calls.postgres import PostgresCalls
from infra.calls.query import MOST, Hit, Query
from infra.calls.segments import Place
from infra.calls.sqlite import CallStore
from infra.calls.waiting import LOCK_SECONDS, say_nothing
from infra.settings import Settings
from release.errors import Unavailable


class Calls(Protocol):
    """Calls that were folded out of segments."""

    def places(self) -> dict[str, Place]:
        """How far each gateway's segments have been folded."""
        ...

    def fold(
        self,
        read: Callable[[Mapping[str, Place]], tuple[Sequence[Folded], Sequence[Place]]],
        wait: float = LOCK_SECONDS,
    ) -> int:
        """Take what a reader finds from where the last one stopped; give how many were new."""
        ...

    def forget(self, calls: Mapping[str, Iterable[tuple[int, int]]]) -> int:
        """Forget the payloads of calls, by gateway, sequence and moment; give how many."""
        ...

    def forget_elsewhere(self, query: Query, /) -> Mapping[str, int]:
        """Forget texts of other homes' calls that match; give how many calls, by gateway."""
        ...

    def elsewhere(self) -> Sequence[Last]:
        """Give of each other home the gateway and the moment of the last call that it folded."""
        ...

    def drop(self, namespace: str, before_us: int, own_us: int = 0) -> int:
        """Remove a namespace's calls of before a moment, and this home's of before another."""
        ...

    def namespaces(self) -> list[str]:
        """Name the namespaces that there are calls of, whether anybody made them or not."""
        ...

    def settle(self) -> None:
        """Leave nothing of what is gone; where nothing is, it costs little."""
        ...

    def owed(self) -> bool:
        """Whether something that was forgotten still has to leave the files."""
        ...

    def page(self, query: Query) -> list[Hit]:
        """Give the newest calls that match, one page."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def opened(settings: Settings, say: Callable[[str], None] = say_nothing) -> Calls:
    """Open the call store of these settings.

    Args:
        settings: where it is.
        say: is told what is waited for.

    Raises:
        Invalid: `SLIPWAY_CALLS_URL` names none.
        Unavailable: it cannot be opened, or the signing key was lost.
    """
    url = settings.calls_url.get_secret_value()
    if not url:
        return CallStore(settings.call_store, say)
    # Hosts may be called alike, and with them their gateways; no two have the same key.
    home = Signer(settings.calls_secrets, settings.journal).public.hex()[:16]
    return PostgresCalls(url, home)


def where(settings: Settings) -> str:
    """Say where the call store of these settings is, without a password.

    Raises:
        Invalid: `SLIPWAY_CALLS_URL` names none.
    """
    url = settings.calls_url.get_secret_value()
    return Link(url).where if url else str(settings.call_store)


def leave_no_image(settings: Settings) -> None:
    """Remove the store of this host alone where calls lie in a shared one.

    Nobody keeps it up any more: what is erased, or past what is kept, would stay readable in it.

    Raises:
        Unavailable: it cannot be removed.
    """
    if not settings.calls_url.get_secret_value():
        return
    path = settings.call_store
    try:
        # The file comes first: its log alone is read by nobody.
        for ending in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    except OSError as error:
        said = f"The call store {path} of before SLIPWAY_CALLS_URL cannot be removed: {error}."
        raise Unavailable(said, "remove it by hand: it holds texts in plain") from error


def opening(settings: Settings, say: Callable[[str], None]) -> Calls:
    """Open the call store, however long it is away.

    Raises:
        Invalid: `SLIPWAY_CALLS_URL` names none.
    """
    while True:
        try:
            store = opened(settings)
        except Unavailable as error:
            say(str(error))
            time.sleep(PAUSE_SECONDS)
        else:
            break
    try:
        leave_no_image(settings)
    except Unavailable as error:
        say(str(error))
    return store


def every(store: Calls, query: Query) -> Iterator[Hit]:
    """Give all calls that match, the newest first, page after page."""
    query = replace(query, most=MOST)
    while page := store.page(query):
        yield from page
        query = replace(query, below=page[-1].number)
