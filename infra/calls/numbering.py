"""Gives calls their numbers in PostgreSQL: the first that is free from their moment on."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from infra.calls import days
from infra.calls.folding import Folded
from infra.calls.numbers import TIES, number_of

Origin = tuple[str, str, int]
"""Home, gateway and sequence: which call it is."""

_LOOKED_UP = """
select number, at_us, home, gateway, sequence from unnest(%s::bigint[]) as moment (first)
join {} as day on number >= first and number < first + %s
"""


class Numbering:
    """What numbers are taken, as far as it was looked up; within one write transaction.

    A call that is there already has the number that it was given then, and is found on the way to
    the first free one.

    Args:
        db: in the transaction.
        home: of the calls.
    """

    def __init__(self, db: psycopg.Connection, home: str) -> None:
        self._db = db
        self._home = home
        self._taken: set[int] = set()
        self._there: set[tuple[Origin, int]] = set()
        """Calls, each with its moment: a gateway that begins anew counts from 1 once more."""

        self._known: set[int] = set()
        """First numbers of the moments that were looked up."""

        self._free: dict[int, int] = {}
        """From which number on it is worth looking, for moments that have many calls."""

    def numbered(self, calls: Sequence[Folded]) -> list[tuple[int, Folded]]:
        """Give each call that is not there yet its number.

        Raises:
            psycopg.Error: the database does not answer.
        """
        self._look_up({number_of(found.line.at_us) for found, _ in calls})
        new = []
        for one in calls:
            found = one[0]
            first = number_of(found.line.at_us)
            number = self._first_free(first)
            origin = (self._home, found.gateway, found.line.sequence)
            if (origin, first) in self._there:
                continue
            self._taken.add(number)
            self._there.add((origin, first))
            self._free[first] = number + 1
            new.append((number, one))
        return new

    def _first_free(self, first: int) -> int:
        number = self._free.get(first, first)
        while True:
            # More calls than a moment has numbers go on in the next.
            self._look_up({number >> TIES << TIES})
            if number not in self._taken:
                return number
            number += 1

    def _look_up(self, firsts: Iterable[int]) -> None:
        by_day: dict[str, list[int]] = {}
        for first in firsts:
            if first not in self._known:
                by_day.setdefault(days.day_of(first), []).append(first)
        for day, moments in by_day.items():
            self._known.update(moments)
            for number, at_us, *origin in self._rows(day, moments):
                self._taken.add(number)
                self._there.add(((*origin,), number_of(at_us)))

    def _rows(self, day: str, moments: list[int]) -> list[tuple[Any, ...]]:
        if not days.is_there(self._db, day):
            return []
        command = sql.SQL(_LOOKED_UP).format(sql.Identifier(day))
        return self._db.execute(command, (moments, 1 << TIES)).fetchall()
