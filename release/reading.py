"""Read what people wrote in TOML; a broken rule is refused with place, value and limit. Pure."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from release.errors import Invalid

LARGEST = 1e9
"""No number that people write means anything beyond this."""

LONGEST = 1000
"""No text that people write needs more characters."""

_T = TypeVar("_T")


def toml(text: str, what: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        Invalid: it is none.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"The {what} is not TOML: {error}.") from error


def table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a table by its name; an empty one where it is absent."""
    found = data.get(name, {})
    if not isinstance(found, Mapping):
        raise Invalid(f"[{name}] must be a table, not {found!r}.")
    return found


def known(data: Mapping[str, Any], where: str, allowed: set[str]) -> None:
    """Refuse a name that nobody reads: it would be a demand that is never made."""
    for name in data:
        if name not in allowed:
            raise Invalid(f"{where} has no {name!r}.", f"it knows {', '.join(sorted(allowed))}")


def names(kind: type) -> set[str]:
    """Give the names of a dataclass's fields."""
    return {one.name for one in fields(kind)}


def text(value: object, where: str) -> str:
    """Give a text that is not empty, not endless, and holds no control character."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
        said = f"{where} must be a plain text of 1 to {LONGEST} characters, not {value!r:.80}."
        raise Invalid(said)
    return value


def whole(value: object, where: str) -> int:
    """Give a whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
        raise Invalid(f"{where} must be a whole number to {LARGEST:g}, not {value!r:.40}.")
    return value


def number(value: object, where: str) -> None:
    """Refuse what is no number."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not abs(value) <= LARGEST:  # type: ignore[arg-type]
        raise Invalid(f"{where} must be a number to {LARGEST:g}, not {value!r:.40}.")


def build(kind: type[_T], data: Mapping[str, Any], where: str) -> _T:
    """Build a dataclass whose fields are numbers, refusing unknown names and other types."""
    known(data, where, names(kind))
    for one in fields(kind):  # type: ignore[arg-type]
        value = data.get(one.name, 0)
        if one.type is int:
            whole(value, f"{where} {one.name}")
        elif one.type in (float, float | None):
            number(value, f"{where} {one.name}")
    return kind(**data)


def tables(value: object, where: str) -> list[Mapping[str, Any]]:
    """Give a list of tables."""
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise Invalid(f"{where} must be a list of tables, not {value!r}.")
    return value
