"""Who may act: identities and their tokens."""

import sys

from rich.console import Console
from rich.table import Table

from console.wording import cell
from infra.files import write_atomic
from infra.identity import Identity
from tasks.wiring import House, house


def actor(here: House) -> Identity:
    """Give the proven identity that this command acts for.

    Raises:
        Refused: no token, or one that proves nobody.
    """
    return here.identities.prove(here.token)


def add(name: str, role: str, owner: str, *, save: bool) -> None:
    """Add an identity and print its token."""
    here = house()
    by = actor(here) if here.identities.list() else None
    token = here.identities.add(name, role, by=by, machine=bool(owner), owner=owner)
    if save:
        path = here.settings.root / "token"
        write_atomic(path, token.encode())
        path.chmod(0o600)
    sys.stdout.write(f"{token}\n")


def show() -> None:
    """List identities."""
    table = Table("name", "role", "behind it", "active", box=None)
    for one in house().identities.list():
        cells = (one.name, one.role, one.human, "yes" if one.active else "no")
        table.add_row(*map(cell, cells))
    Console().print(table)


def disable(name: str) -> None:
    """Disable an identity."""
    here = house()
    here.identities.disable(name, by=actor(here))
    sys.stdout.write(f"{name} is disabled\n")
