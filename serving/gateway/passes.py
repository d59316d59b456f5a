"""What a caller may do here, once it is proven who it is."""

import secrets
from collections.abc import Mapping

from infra.callers.snapshot import owner_of
from release.callers import OPEN, Action, Grant
from serving.gateway.bodies import Headers
from serving.gateway.quotas import Window
from serving.gateway.refusing import Refusal

MOST_ASKED = 256
"""Endpoints for which a proof remembers what it may do,"""

LONGEST_ASKED = 200
"""with no longer name: most that are asked for so are none."""


class Pass:
    """What one proof lets its holder do here.

    Args:
        grant: what is proven.
        owners: endpoint to namespace.
        window: what it has asked; None where it has no quota.
    """

    __slots__ = ("_grant", "_may", "_owners", "_window", "caller", "expires", "used")

    def __init__(self, grant: Grant, owners: Mapping[str, str], window: Window | None) -> None:
        self._grant = grant
        self._owners = owners
        self._window = window
        self._may: dict[tuple[str, Action], bool] = {}
        self.caller = grant.caller
        self.expires = grant.expires
        self.used = 0.0

    def may(self, endpoint: str, action: Action) -> bool:
        """Whether an action on an endpoint is allowed."""
        known = self._may.get((endpoint, action))
        if known is None:
            known = self._grant.may(owner_of(self._owners, endpoint), endpoint, action)
            if len(self._may) < MOST_ASKED and len(endpoint) <= LONGEST_ASKED:
                self._may[endpoint, action] = known
        return known

    def need(self, endpoint: str, action: Action) -> None:
        """Refuse what is not allowed.

        Raises:
            Refusal: with status 403, naming the scope that is missing.
        """
        if not self.may(endpoint, action):
            # Whose an endpoint is, and that there is one, is told to whoever may see it.
            seen = self.may(endpoint, Action.READ)
            owner = owner_of(self._owners, endpoint) if seen else "NAMESPACE"
            said = f"This caller may not {action} {endpoint[:80]!r}."
            lacks = f"it lacks the scope {owner}/{endpoint[:80]}:{action}"
            raise Refusal(403, said, lacks if seen else f"{lacks}, of the namespace that owns it")

    def need_all(self, action: Action) -> None:
        """Refuse whoever may not do this with every endpoint.

        Raises:
            Refusal: with status 403.
        """
        if not self._grant.may_all(action):
            said = f"This caller may not {action} all endpoints."
            raise Refusal(403, said, f"it lacks the scope */*:{action}")

    def enter(self, endpoint: str) -> None:
        """Let a model be asked, within the quota.

        Raises:
            Refusal: with status 403 or 429.
        """
        self.need(endpoint, Action.INFER)
        if self._window is not None:
            self._window.enter()

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        if self._window is not None:
            self._window.spend(tokens)

    def key(self, _headers: Headers, _id: str) -> tuple[str, str]:
        """Give what decides the arm, and what that is: `user`, or `call`.

        A program that serves many has no user, and its calls are divided.
        """
        who = self.caller
        if who.user:
            return f"{who.namespace}/{who.tenant}/{who.user}", "user"
        return secrets.token_hex(8), "call"


class Anybody(Pass):
    """Whoever calls in the open mode, and may do everything."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Grant(caller=OPEN, scopes=()), {}, None)

    def may(self, endpoint: str, action: Action) -> bool:
        """Allow it."""
        return True

    def need_all(self, action: Action) -> None:
        """Allow it."""

    def key(self, headers: Headers, id: str) -> tuple[str, str]:  # noqa: A002 - a call's own field
        """Give what decides the arm: what the client says, since nothing is proven here."""
        said = headers.text(b"x-slipway-key")
        return (said, "header") if said else (id, "call")


ANYBODY = Anybody()
NOBODY = Pass(Grant(caller=OPEN, scopes=()), {}, None)
"""Whoever has proven nothing yet."""
