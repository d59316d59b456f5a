"""Tells people of names that they typed and that name nothing: a word beside what was done.

What may still come to be is no error: keys are made, and endpoints given away, before the first
release. A namespace has to be made first, and one that nobody made is refused where it is named.
"""

from collections.abc import Iterable

from infra.callers.namespaces import Namespaces
from infra.callers.reading import endpoints
from infra.calls.query import Query
from infra.calls.stores import Calls
from release.callers import scopes_of
from release.names import LONGEST, meant, opens_nothing
from release.policy import Releasing
from tasks.wiring import House


def tell_of_scopes(here: House, scopes: Iterable[str]) -> None:
    """Say which scopes open no endpoint that there is yet, once for each endpoint."""
    known = endpoints(here.ledger)
    told = {(one.namespace, one.endpoint): opens_nothing(one, known) for one in scopes_of(scopes)}
    for said in filter(None, told.values()):
        here.say(said)


def tell_of_endpoint(here: House, name: str, known: Iterable[str]) -> None:
    """Say that an endpoint is none of those that there are."""
    if name not in known:
        here.say(f"there is no endpoint {name!r} yet ({meant(name, known)})")


def tell_of_releasing(here: House, releasing: Releasing) -> None:
    """Say what would keep an endpoint that is released so from being so.

    A policy is a file of the home whose worker runs the release, which need not be this one.
    """
    folder = here.settings.root / "policies"
    if releasing.policy and not (folder / f"{releasing.policy}.toml").is_file():
        known = [path.stem for path in folder.glob("*.toml") if path.stem != "floor"]
        near = meant(releasing.policy, known)
        here.say(
            f"there is no policy {releasing.policy!r} in {folder}, and what has none of its own is"
            f" refused until there is ({near})"
        )
    held = {one.role for one in here.identities.list() if one.active}
    if releasing.roles and not held & set(releasing.roles):
        said = f"nobody is {' or '.join(releasing.roles)}, and nothing can be approved until then"
        here.say(f"{said} (see slipway identity add)")


def tell_of_search(here: House, store: Calls, query: Query) -> None:
    """Say which names of a search that found nothing no call can have."""
    if query.endpoint is not None:
        known = endpoints(here.ledger)
        if query.endpoint not in known:
            said = f"there is no endpoint {query.endpoint[:LONGEST]!r}"
            here.say(f"{said} ({meant(query.endpoint, known)})")
    if query.namespace is not None:
        made = Namespaces(here.ledger, here.settings.recording).list()
        names = {*made, *store.namespaces()}
        if query.namespace not in names:
            said = f"there is no namespace {query.namespace[:LONGEST]!r}"
            here.say(f"{said} ({meant(query.namespace, names)})")
