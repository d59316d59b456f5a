"""Measure: `python -m tests.bench [--only GROUP [--row ROW]]`; see `make bench`.

Prints one table and writes `build/bench.json`, a list of `{"id", "what", "value", "goal", "better",
"met"}` of this run alone. A goal that is missed is told, and no reason to fail; what could not be
measured at all is, with code 1.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.files import write_atomic
from tests.bench import calls, journey, serving, variants
from tests.bench.figures import Figure

GROUPS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "calls": calls.figures,
    "journey": journey.figures,
    "serving": serving.figures,
    "variants": variants.figures,
}
"""Group to what measures it: a module a group, whose figures are named after it."""

ROWS = {"calls": calls.ROWS, "serving": serving.ROWS}
"""Groups whose rows can be measured by themselves."""

OUT = Path(__file__).parents[2] / "build" / "bench.json"
_MARK = {True: "met", False: "MISSED", None: ""}


def gather(groups: Mapping[str, Callable[[], Iterator[Figure]]]) -> list[Figure]:
    """Measure every group; one that breaks off keeps what it had, and tells why it broke off."""
    found: list[Figure] = []
    for name, group in groups.items():
        try:
            found.extend(group())
        except Exception as error:
            # Whatever it is, the other groups go on.
            said = f"{name} could not be measured: {error!r}"
            found.append(Figure(id=name, what=said, value=None, better="higher"))
    return found


def table(figures: Iterable[Figure]) -> Table:
    """Lay figures out for people."""
    made = Table("id", "value", "goal", "", "what", box=None)
    for one in figures:
        sign = "≥" if one.better == "higher" else "≤"
        goal = "" if one.goal is None else f"{sign} {one.goal:g}"
        value = "–" if one.value is None else f"{one.value:.3g}"
        made.add_row(one.id, value, goal, _MARK[one.met], one.what)
    return made


def main(arguments: list[str]) -> int:
    """Measure, print, write; gives the exit code."""
    parser = ArgumentParser(prog="make bench", description="Measure what the house promises.")
    parser.add_argument("--only", choices=GROUPS, help="one group instead of all")
    said = f"one row of a group, with --only {' or '.join(ROWS)}; may be said again"
    homes = {row: group for group, rows in ROWS.items() for row in rows}
    parser.add_argument("--row", choices=homes, action="append", default=[], help=said)
    given = parser.parse_args(arguments)
    if lost := [row for row in given.row if homes[row] != given.only]:
        parser.error(f"--row {lost[0]} wants --only {homes[lost[0]]}")
    wanted = {given.only: GROUPS[given.only]} if given.only else GROUPS
    some = {"calls": calls.figures, "serving": serving.figures}
    figures = gather({given.only: partial(some[given.only], given.row)} if given.row else wanted)
    plain = [one.as_json() for one in figures]
    write_atomic(OUT, json.dumps(plain, ensure_ascii=False, indent=2).encode())
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table(figures))
    return int(any(one.value is None for one in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
