"""What a team demands of its model's releases, and the floor that the platform owns. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from release import reading
from release.digests import digest_of
from release.errors import Invalid
from release.gates import Gate
from release.plan import Plan, Step
from release.routes import Guard, Serving
from release.variants import NAME, Recipe

ROLES = ("admin", "release-manager", "requester", "viewer", "auditor")
"""What an identity may be. An auditor reads the call record, and an admin as well."""


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
    stays within this part of all requests; in the shadow it costs no client anything."""

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
    serving: Serving
    text: str
    """The TOML as it was read, floor included."""

    @property
    def digest(self) -> str:
        """Content digest; an approval is bound to it."""
        return digest_of(self.text)

    @property
    def floor_gates(self) -> tuple[Gate, ...]:
        """Those of `gates` that floors added: the last ones."""
        _, *floors = self.text.split(_FLOOR)
        added = sum(len(reading.toml(one, "floor").get("gates", [])) for one in floors)
        return self.gates[len(self.gates) - added :]

    @classmethod
    def parse(cls, text: str, *, floor: str = "") -> Self:
        """Read a policy, and hold the platform's floor under it.

        Args:
            text: the team's TOML.
            floor: TOML of the platform, and of a namespace, as `floors` joins them: `[approval]
                count` is a minimum, `[approval] roles` are the only ones, gates are added.

        Raises:
            Invalid: naming the table, the value and the limit.
        """
        data = reading.toml(text, "policy")
        reading.known(data, "policy", _TABLES)
        suite = reading.table(data, "suite")
        reading.known(suite, "[suite]", {"path"})
        variants = reading.table(data, "variants")
        reading.known(variants, "[variants]", {"build"})
        live = dict(reading.table(data, "live"))
        guard = {name: live.pop(name) for name in reading.names(Guard) & set(live)}
        live["guard"] = reading.build(Guard, guard, "[live]")
        policy = cls(
            suite=reading.text(suite.get("path", ""), "[suite] path"),
            variants=_recipes(variants.get("build", [])),
            gates=_gates(data.get("gates", [])),
            approval=_approval(reading.table(data, "approval")),
            plan=_plan(reading.table(data, "plan")),
            live=reading.build(
                Live, live | {"guard": reading.build(Guard, guard, "[live]")}, "[live]"
            ),
            serving=reading.build(Serving, reading.table(data, "serving"), "[serving]"),
            text=text,
        )
        if not policy.gates:
            raise Invalid("The policy has no [[gates]].", "no evidence never passes")
        for one in floor.split(_FLOOR):
            policy = policy._under(one) if one.strip() else policy
        return policy

    def _under(self, floor: str) -> Self:
        data = reading.toml(floor, "floor")
        reading.known(data, "floor", {"gates", "approval"})
        approval = reading.table(data, "approval")
        reading.known(approval, "floor [approval]", {"count", "roles"})
        count = max(
            self.approval.count, reading.whole(approval.get("count", 0), "floor [approval] count")
        )
        roles = _approval(approval).roles if "roles" in approval else self.approval.roles
        return replace(
            self,
            gates=(*self.gates, *_gates(data.get("gates", []))),
            approval=replace(self.approval, count=count, roles=roles),
            text=f"{self.text}{_FLOOR}{floor}",
        )

    @classmethod
    def frozen(cls, text: str) -> Self:
        """Read back `text` as a release keeps it, floor included."""
        team, _, floor = text.partition(_FLOOR)
        return cls.parse(team, floor=floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasing:
    """What a namespace says of releases of the endpoints that it owns."""

    policy: str = ""
    """Name of the policy for what has none of its own; empty where it names none."""

    roles: tuple[str, ...] = ()
    """Who may approve, whatever the policy says; empty leaves it to that."""

    def __post_init__(self) -> None:
        if self.policy and not NAME.fullmatch(self.policy):
            raise Invalid(
                f"A policy's name must be 1 to 63 of a-z, 0-9, '-', '_', not {self.policy[:80]!r}."
            )
        ApprovalRule(roles=self.roles)

    @property
    def floor(self) -> str:
        """The floor that it lays under a policy, as TOML; empty where it demands nothing."""
        named = ", ".join(f'"{one}"' for one in self.roles)
        return f"[approval]\nroles = [{named}]\n" if self.roles else ""


def floors(*texts: str) -> str:
    """Join floors, the first one lowest, as `Policy.parse` takes them."""
    return _FLOOR.join(one for one in texts if one.strip())


_TABLES = {"suite", "variants", "gates", "approval", "plan", "live", "serving"}

_FLOOR = "\n\x1e floor\n"
"""Between a team's policy and each floor under it; no TOML may hold this control character."""


def _recipes(value: object) -> tuple[Recipe, ...]:
    if not isinstance(value, list) or not value:
        raise Invalid(f"[variants] build must list at least one variant, not {value!r}.")
    recipes = tuple(Recipe.parse(reading.text(one, "[variants] build")) for one in value)
    if len(set(recipes)) != len(recipes):
        raise Invalid(f"[variants] build names a variant twice: {value!r}.")
    return recipes


def _gates(value: object) -> tuple[Gate, ...]:
    gates = []
    for one in reading.tables(value, "[[gates]]"):
        reading.text(one.get("metric"), "[[gates]] metric")
        gates.append(reading.build(Gate, one, "[[gates]]"))
    return tuple(gates)


def _approval(data: Mapping[str, Any]) -> ApprovalRule:
    plain = dict(data)
    roles = plain.pop("roles", ["release-manager"])
    if not isinstance(roles, list) or not roles:
        raise Invalid(f"[approval] roles must list at least one role, not {roles!r}.")
    named = tuple(reading.text(role, "[approval] roles") for role in roles)
    return replace(reading.build(ApprovalRule, plain, "[approval]"), roles=named)


def _plan(data: Mapping[str, Any]) -> Plan:
    plain = dict(data)
    steps = reading.tables(plain.pop("steps", []), "[plan] steps")
    if any(not {"share", "shadow"} & step.keys() for step in steps):
        raise Invalid("Each step of [plan] needs a share.", "such as {share = 5}, or {shadow = 20}")
    built = tuple(reading.build(Step, step, "[plan] steps") for step in steps)
    return reading.build(Plan, plain | {"steps": built}, "[plan]")
