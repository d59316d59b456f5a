"""What a team demands of its model's releases, and the floor that the platform owns. Pure."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

from release.digests import digest_of
from release.errors import Invalid
from release.gates import Gate
from release.plan import Plan, Step
from release.routes import Guard
from release.variants import Recipe

ROLES = ("admin", "release-manager", "requester", "viewer")
"""What an identity may be."""

LARGEST = 1e9
"""No number of a policy means anything beyond this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """Who must say yes before a canary starts."""

    count: int = 1
    """How many different people; 0 asks nobody. The requester never counts."""

    roles: tuple[str, ...] = ("release-manager",)
    valid_hours: float = 24.0

    def __post_init__(self) -> None:
        if not 0 <= self.count <= 10:
            raise Invalid(f"[approval] count must be within 0..10, not {self.count}.")
        if not 0 < self.valid_hours <= 8760:
            said = f"[approval] valid_hours must be within 0..8760, not {self.valid_hours:g}."
            raise Invalid(said)
        if unknown := set(self.roles) - set(ROLES):
            raise Invalid(
                f"[approval] roles has {', '.join(map(repr, sorted(unknown)))}.",
                f"roles are {', '.join(ROLES)}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How a canary is judged on live traffic."""

    lease_seconds: float = 15.0
    """How long a canary's share lasts without being renewed."""

    worse_by: float = 0.02
    """Excess of the canary's failure rate over the champion's that, once proven, puts it back."""

    harm_budget: float = 0.01
    """A canary widens only when the upper bound on its excess failure rate, times its next share,
    stays within this part of all requests."""

    confidence: float = 0.95
    """Of the bounds, which hold at every moment at once, however often they are looked at."""

    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        for name in ("worse_by", "harm_budget", "confidence"):
            if not 0 < (value := getattr(self, name)) < 1:
                raise Invalid(f"[live] {name} must be between 0 and 1, not {value:g}.")
        if not 1 <= self.lease_seconds <= 3600:
            limit = f"[live] lease_seconds must be within 1..3600, not {self.lease_seconds:g}."
            raise Invalid(limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that decides a release, frozen into it when it opens."""

    suite: str
    """Folder of the evaluation suite."""

    variants: tuple[Recipe, ...]
    gates: tuple[Gate, ...]
    approval: ApprovalRule
    plan: Plan
    live: Live
    text: str
    """The TOML as it was read, floor included."""

    @property
    def digest(self) -> str:
        """Content digest; an approval is bound to it."""
        return digest_of(self.text)

    @classmethod
    def parse(cls, text: str, *, floor: str = "") -> Self:
        """Read a policy, and hold the platform's floor under it.

        Args:
            text: the team's TOML.
            floor: the platform's TOML: `[approval] count` is a minimum, its gates are added.

        Raises:
            Invalid: naming the table, the value and the limit.
        """
        data = _toml(text, "policy")
        _known(data, "policy", {"suite", "variants", "gates", "approval", "plan", "live"})
        suite = _table(data, "suite")
        _known(suite, "[suite]", {"path"})
        variants = _table(data, "variants")
        _known(variants, "[variants]", {"build"})
        live = dict(_table(data, "live"))
        guard = {name: live.pop(name) for name in _names(Guard) & set(live)}
        policy = cls(
            suite=_text(suite.get("path", ""), "[suite] path"),
            variants=_recipes(variants.get("build", [])),
            gates=_gates(data.get("gates", [])),
            approval=_approval(_table(data, "approval")),
            plan=_plan(_table(data, "plan")),
            live=_build(Live, live | {"guard": _build(Guard, guard, "[live]")}, "[live]"),
            text=text,
        )
        if not policy.gates:
            raise Invalid("The policy has no [[gates]].", "no evidence never passes")
        return policy._under(floor) if floor.strip() else policy

    def _under(self, floor: str) -> Self:
        data = _toml(floor, "floor")
        _known(data, "floor", {"gates", "approval"})
        approval = _table(data, "approval")
        _known(approval, "floor [approval]", {"count"})
        count = max(self.approval.count, _whole(approval.get("count", 0), "floor [approval] count"))
        return replace(
            self,
            gates=(*self.gates, *_gates(data.get("gates", []))),
            approval=replace(self.approval, count=count),
            text=f"{self.text}{_FLOOR}{floor}",
        )

    @classmethod
    def frozen(cls, text: str) -> Self:
        """Read back `text` as a release keeps it, floor included."""
        team, _, floor = text.partition(_FLOOR)
        return cls.parse(team, floor=floor)


_T = TypeVar("_T")

_FLOOR = "\n\x1e floor\n"
"""Between a team's policy and the floor over it; no TOML may hold this control character."""


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Invalid(f"The {what} is not TOML: {error}.") from error


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, Mapping):
        raise Invalid(f"[{name}] must be a table, not {table!r}.")
    return table


def _known(data: Mapping[str, Any], where: str, known: set[str]) -> None:
    for name in data:
        if name not in known:
            raise Invalid(f"{where} has no {name!r}.", f"it knows {', '.join(sorted(known))}")


def _names(kind: type) -> set[str]:
    return {one.name for one in fields(kind)}


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise Invalid(f"{where} must be a plain text, not {value!r:.80}.")
    return value


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
        raise Invalid(f"{where} must be a whole number to {LARGEST:g}, not {value!r:.40}.")
    return value


def _number(value: object, where: str) -> None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not abs(value) <= LARGEST:  # type: ignore[arg-type]
        raise Invalid(f"{where} must be a number to {LARGEST:g}, not {value!r:.40}.")


def _build(kind: type[_T], data: Mapping[str, Any], where: str) -> _T:
    """Build a dataclass whose fields are numbers, refusing unknown names and other types."""
    _known(data, where, _names(kind))
    for one in fields(kind):  # type: ignore[arg-type]
        value = data.get(one.name, 0)
        if one.type is int:
            _whole(value, f"{where} {one.name}")
        elif one.type in (float, float | None):
            _number(value, f"{where} {one.name}")
    return kind(**data)


def _tables(value: object, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise Invalid(f"{where} must be a list of tables, not {value!r}.")
    return value


def _recipes(value: object) -> tuple[Recipe, ...]:
    if not isinstance(value, list) or not value:
        raise Invalid(f"[variants] build must list at least one variant, not {value!r}.")
    recipes = tuple(Recipe.parse(_text(one, "[variants] build")) for one in value)
    if len(set(recipes)) != len(recipes):
        raise Invalid(f"[variants] build names a variant twice: {value!r}.")
    return recipes


def _gates(value: object) -> tuple[Gate, ...]:
    gates = []
    for one in _tables(value, "[[gates]]"):
        _text(one.get("metric"), "[[gates]] metric")
        gates.append(_build(Gate, one, "[[gates]]"))
    return tuple(gates)


def _approval(data: Mapping[str, Any]) -> ApprovalRule:
    plain = dict(data)
    roles = plain.pop("roles", ["release-manager"])
    if not isinstance(roles, list) or not roles:
        raise Invalid(f"[approval] roles must list at least one role, not {roles!r}.")
    named = tuple(_text(role, "[approval] roles") for role in roles)
    return replace(_build(ApprovalRule, plain, "[approval]"), roles=named)


def _plan(data: Mapping[str, Any]) -> Plan:
    plain = dict(data)
    steps = _tables(plain.pop("steps", []), "[plan] steps")
    if any("share" not in step for step in steps):
        raise Invalid("Each step of [plan] needs a share.", "such as {share = 5}")
    built = tuple(_build(Step, step, "[plan] steps") for step in steps)
    return _build(Plan, plain | {"steps": built}, "[plan]")
