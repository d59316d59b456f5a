"""Whether there is what an erasure names: of a name misspelt it would erase nothing."""

from collections.abc import Iterable
from dataclasses import replace

from infra.callers.namespaces import Namespaces
from infra.calls.query import MOST, Query
from infra.calls.stores import Calls, opened
from infra.calls.terms import composed, folded
from infra.calls.vault import Vault
from infra.identity import Identity
from release import names
from release.errors import NotFound, Unavailable
from tasks.finding import reading
from tasks.wiring import House


def check_namespace(here: House, vault: Vault, namespace: str) -> None:
    """Refuse a namespace that neither the ledger nor any key nor the call store knows.

    Raises:
        NotFound: with the name that may have been meant.
    """
    known = {*Namespaces(here.ledger, here.settings.recording).list()}
    known |= {name for name, _ in vault.days()}
    if namespace in known:
        return
    store = opened(here.settings)
    try:
        known.update(store.namespaces())
    finally:
        store.close()
    if namespace not in known:
        raise NotFound(f"There is no namespace {namespace!r}.", names.meant(namespace, known))


def check_known(here: House, by: Identity, asked: Query) -> None:
    """Refuse a user, key or id of which no call is recorded, however long its payloads are erased.

    Where the call store does not answer nobody can know that, and an erasure does not wait for it.

    Args:
        here: the house.
        by: who erases.
        asked: for the calls of one user, key or id in a namespace.

    Raises:
        NotFound: naming the nearest that there is among the newest calls.
        Refused: `by` may not read the call record.
    """
    try:
        with reading(here, by) as store:
            if store.page(replace(asked, most=1)):
                return
            lacks = _lacking(store, asked)
    except Unavailable:
        return
    raise lacks


def _lacking(store: Calls, asked: Query) -> NotFound:
    field, what = next(
        (field, what)
        for field, what in (("user", "user"), ("caller", "key"), ("id", "id"))
        if getattr(asked, field) is not None
    )
    newest = store.page(Query(namespace=asked.namespace, most=MOST))
    named = getattr(asked, field)
    near = nearest(named, (getattr(hit.line, field) for hit in newest))
    said = (
        f"No call of the {what} {named[:80]!r} is recorded in {asked.namespace}: nothing is erased."
    )
    return NotFound(said, f"did you mean {near!r}?" if near else "see slipway calls search")


def nearest(name: str, known: Iterable[str]) -> str:
    """Give the name that is most like another, case and composition aside; empty where none is."""
    return names.nearest(name, known, lambda one: folded(composed(one)))
