"""Claims, fencing and the one transaction of a tick."""

from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from infra.ledger import schema
from infra.ledger.change import Change, Claim
from infra.ledger.rows import Row, desired_of, desired_row, event_row, release_row
from release.errors import Conflict, Fenced
from release.evidence import Cursor, Tally, Window
from release.releases import Desired, Release


def claim_row(
    connection: Connection, model: str, owner: str, until: float, now: float, *, force: bool
) -> Claim:
    """Take or renew the ownership of a model's row, which is made if need be."""
    row = _locked(connection, model)
    if row is None:
        empty = desired_row(Desired(model=model))
        owned = {"epoch": 1, "owner": owner, "owner_until": until}
        connection.execute(insert(schema.desired).values(empty | owned))
        return Claim(model=model, owner=owner, epoch=1, until=until)
    held = row["owner"] not in ("", owner) and now < row["owner_until"]
    if held and not force:
        raise Conflict(
            f"{model} is being moved by {row['owner']} for another "
            f"{row['owner_until'] - now:.0f} s at most."
        )
    epoch = row["epoch"] + (row["owner"] != owner)
    owned = {"epoch": epoch, "owner": owner, "owner_until": until}
    connection.execute(update(schema.desired).where(schema.desired.c.model == model).values(owned))
    return Claim(model=model, owner=owner, epoch=epoch, until=until)


def yield_row(connection: Connection, claim: Claim) -> None:
    """Let go of a row, if it is still held."""
    table = schema.desired
    mine = (table.c.model == claim.model) & (table.c.epoch == claim.epoch)
    connection.execute(
        update(table).where(mine & (table.c.owner == claim.owner)).values(owner="", owner_until=0.0)
    )


def write(connection: Connection, claim: Claim, change: Change, now: float) -> Desired:
    """Write a change if nobody was there first."""
    row = _locked(connection, claim.model)
    if row is None or (row["epoch"], row["owner"]) != (claim.epoch, claim.owner):
        raise Fenced(f"{claim.owner} has lost {claim.model} to another controller.")
    before = desired_of(row)
    if before.generation != change.expected:
        raise Fenced(
            f"{claim.model} has moved on to generation {before.generation} from {change.expected}."
        )
    if change.release is not None:
        _write_release(connection, change.release)
    after = _write_desired(connection, before, change)
    for event in change.events:
        connection.execute(insert(schema.events).values(event_row(event)))
    _fold(connection, claim.model, change)
    return after


def _locked(connection: Connection, model: str) -> Row | None:
    chosen = select(schema.desired).where(schema.desired.c.model == model).with_for_update()
    return connection.execute(chosen).mappings().first()


def _write_release(connection: Connection, release: Release) -> None:
    table = schema.releases
    still_open = (table.c.id == release.id) & table.c.open_model.is_not(None)
    done = connection.execute(update(table).where(still_open).values(release_row(release)))
    if done.rowcount != 1:
        raise Fenced(f"{release.id} is closed.")


def _write_desired(connection: Connection, before: Desired, change: Change) -> Desired:
    wanted = before if change.desired is None else change.desired
    same = replace(wanted, generation=before.generation, lease_until=before.lease_until) == before
    rises = change.bump or not same
    after = replace(wanted, generation=before.generation + rises)
    table = schema.desired
    connection.execute(
        update(table).where(table.c.model == before.model).values(desired_row(after))
    )
    return after


def _fold(connection: Connection, model: str, change: Change) -> None:
    """Count each window once, however often it is handed in."""
    table = schema.cursors
    rows = connection.execute(select(table).where(table.c.model == model)).mappings()
    known = {row["gateway"]: row["window"] for row in rows}
    if change.release is not None:
        for window in change.windows:
            if window.number > known.get(window.gateway, 0):
                _count(connection, change.release.id, change.step, window, model)
    for cursor in change.cursors:
        if cursor.gateway not in known:
            row = {"model": model, "gateway": cursor.gateway}
            connection.execute(insert(table).values(row | _place(cursor)))
        elif cursor.window >= known[cursor.gateway]:
            mine = (table.c.model == model) & (table.c.gateway == cursor.gateway)
            connection.execute(update(table).where(mine).values(_place(cursor)))


def _place(cursor: Cursor) -> dict[str, int]:
    return {"window": cursor.window, "segment": cursor.segment, "offset": cursor.offset}


def _count(connection: Connection, release_id: str, step: int, window: Window, model: str) -> None:
    table = schema.evidence
    for digest, tally in window.tallies.get(model, {}).items():
        mine = (table.c.release == release_id) & (table.c.digest == digest) & (table.c.step == step)
        added = {name: table.c[name] + getattr(tally, name) for name in Tally.__dataclass_fields__}
        done = connection.execute(update(table).where(mine).values(added))
        if done.rowcount == 0:
            key = {"release": release_id, "digest": digest, "step": step}
            counts = {name: getattr(tally, name) for name in Tally.__dataclass_fields__}
            connection.execute(insert(table).values(key | counts))
