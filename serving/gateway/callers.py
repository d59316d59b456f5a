"""Who calls, as a gateway can prove it from what lies on its disk; and what they may do."""

import sys
import time
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING

from infra.callers.pepper import hashed, known_pepper, split
from infra.callers.snapshot import CallersSnapshot, CallersWatch, KeyEntry, owner_of
from release.callers import (
    UNLIMITED,
    Caller,
    Capture,
    Grant,
    Quota,
    Recording,
    WhenFull,
    known_scopes,
)
from release.errors import SlipwayError
from serving.gateway.bodies import Headers
from serving.gateway.passes import ANYBODY, Pass
from serving.gateway.quotas import Window, part_of
from serving.gateway.refusing import Refusal

if TYPE_CHECKING:
    from serving.gateway.tokens import Issuer

SEEN_SECONDS, SAID_SECONDS = 2.0, 60.0
"""How often it is summed up who was seen, and for how long each is told of."""

MOST_KNOWN = 10_000
"""Proofs that are remembered, so that each is worked out once."""

_HINT = "send Authorization: Bearer KEY; an operator makes one with slipway keys create"


class Callers:
    """Everybody who may call a gateway, by the snapshot of its agent.

    Args:
        folder: where `callers.json` lies.
        pepper_file: under which secrets of keys are kept.
        open_to_all: whether nobody is asked who they are.
        fallback: what is recorded of a namespace that does not say.
        place: which gateway of its host this is, from 0 on.
    """

    def __init__(
        self,
        folder: Path,
        pepper_file: Path | None = None,
        *,
        open_to_all: bool = False,
        fallback: Recording | None = None,
        place: int = 0,
    ) -> None:
        self._watch = CallersWatch(folder)
        self._pepper_file = pepper_file
        self._pepper = b""
        self._said = ""
        self._open = open_to_all
        self._fallback = fallback or Recording()
        self._known: dict[bytes, Pass] = {}
        self._place = place
        self._windows: dict[str, Window] = {}
        self._made_room = 0.0
        self._issuers: dict[str, Issuer] = {}
        self._recordings: dict[str, Recording] = {}
        self._used: dict[str, float] = {}
        self._summed: dict[str, float] = {}
        self._summed_at = -SEEN_SECONDS

    def look(self) -> bool:
        """Take the snapshot, if it is new: whoever is not in it any more is nobody at once."""
        if not self._watch.look() or (current := self._watch.current) is None:
            return False
        # First of all: whatever else of it cannot be read, nobody is known by an older one.
        self._used = {key: at for key, at in self._seen().items() if key in current.keys}
        self._known.clear()
        self._issuers = {}
        self._issuers = _issuers(current)
        self._recordings = {
            name: Recording(
                capture=Capture(one.capture),
                sample=one.sample,
                strict=one.strict,
                when_full=WhenFull(one.when_full),
                days=one.days,
            )
            for name, one in current.namespaces.items()
        }
        return True

    @property
    def trouble(self) -> str:
        """Why nobody can be proven here; empty where somebody can."""
        if not self._open and self._watch.current is None:
            return "It does not know yet who may call (see the agent's log)."
        return self._said

    def as_json(self) -> dict[str, object]:
        """Say how it stands, as plain data."""
        current = self._watch.current
        return {
            "open": self._open,
            "number": current.number if current else 0,
            "broken": self._watch.broken,
            "used": self._lately(current),
        }

    def _lately(self, current: CallersSnapshot | None) -> dict[str, float]:
        """Who with a key was seen here of late, each to when that was last."""
        if time.monotonic() - self._summed_at >= SEEN_SECONDS:
            since, keys = time.time() - SAID_SECONDS, current.keys if current else {}
            seen = self._seen().items()
            self._summed = {key: at for key, at in seen if at > since and key in keys}
            self._summed_at = time.monotonic()
        return self._summed

    def _seen(self) -> dict[str, float]:
        """Who was seen here, each to when that was last."""
        found = dict(self._used)
        for one in self._known.values():
            found[one.caller.id] = max(one.used, found.get(one.caller.id, 0.0))
        return found

    def namespace_of(self, endpoint: str) -> str:
        """Name the namespace that owns an endpoint."""
        current = self._watch.current
        return owner_of(current.owners, endpoint) if current else "default"

    def recording(self, namespace: str) -> Recording:
        """Say what a namespace wants recorded."""
        return self._recordings.get(namespace, self._fallback)

    def policy(self, endpoint: str) -> tuple[str, Recording]:
        """Name the namespace of an endpoint, and what that wants recorded."""
        namespace = self.namespace_of(endpoint)
        return namespace, self.recording(namespace)

    def prove(self, headers: Headers) -> Pass:
        """Say who calls.

        Raises:
            Refusal: with status 401, where nobody is proven; 503 before the first snapshot.
        """
        if self._open:
            return ANYBODY
        proof = _proof(headers)
        digest = blake2b(proof.encode("latin-1", "replace"), digest_size=16).digest()
        found = self._known.get(digest)
        if found is None:
            found = self._first(proof)
            if len(self._known) >= MOST_KNOWN:
                self._forget()
            self._known[digest] = found
        now = time.time()
        if found.expires and now >= found.expires:
            raise Refusal(401, "This key or token has expired.", "get a fresh one")
        found.used = now
        return found

    def _forget(self) -> None:
        """Let go of the proof that is known longest."""
        gone = self._known.pop(next(iter(self._known)))
        self._used[gone.caller.id] = gone.used
        while len(self._used) > MOST_KNOWN:
            self._used.pop(next(iter(self._used)))

    def _first(self, proof: str) -> Pass:
        """Work out a proof that is not known yet."""
        current = self._watch.current
        if current is None:
            raise Refusal(503, "This gateway does not know yet who may call.", retry=1)
        id, secret = split(proof)  # noqa: A001 - the key's own field is called so
        if not id and proof.count(".") == 2 and self._issuers:
            return self._pass(self._token(proof, current), current)
        entry = current.keys.get(id)
        # The work is the same for an id that is not there.
        right = compare_digest(entry.secret if entry else "", hashed(self._peppered(), secret))
        if entry is None or not right:
            raise Refusal(401, "No caller is proven by this key.", _HINT)
        return self._pass(_grant(id, entry), current)

    def _pass(self, grant: Grant, current: CallersSnapshot) -> Pass:
        return Pass(grant, current.owners, self._window(grant, current))

    def _peppered(self) -> bytes:
        """Give the pepper, which a gateway only reads: one of its own would prove nobody."""
        if not self._pepper and self._pepper_file is not None:
            try:
                self._pepper = known_pepper(self._pepper_file)
            except SlipwayError as error:
                self._say(str(error))
                raise Refusal(503, "This gateway cannot check keys.", retry=5) from error
            self._said = ""
        if not self._pepper:
            raise Refusal(503, "This gateway has no pepper to check keys by.", retry=5)
        return self._pepper

    def _say(self, what: str) -> None:
        """Say what is amiss, once: whoever only tries keys must not fill the log."""
        if what != self._said:
            sys.stderr.write(f"gateway: {what}\n")
            self._said = what

    def _window(self, grant: Grant, current: CallersSnapshot) -> Window | None:
        """Find what a caller has asked, by whichever of its proofs."""
        if grant.quota == UNLIMITED:
            return None
        part = part_of(grant.quota, current.gateways, current.first + self._place)
        found = self._windows.get(grant.caller.id)
        if found is None:
            self._make_room(time.monotonic())
            found = self._windows[grant.caller.id] = Window(quota=part)
        found.quota = part
        return found

    def _make_room(self, now: float) -> None:
        """Let go of windows in which nothing is counted; once a second is enough."""
        if len(self._windows) < MOST_KNOWN or now - self._made_room < 1:
            return
        self._made_room = now
        self._windows = {key: one for key, one in self._windows.items() if not one.idle(now)}

    def _token(self, token: str, current: CallersSnapshot) -> Grant:
        from serving.gateway.tokens import peeked, unbelieved

        header, issuer = peeked(token)
        if (found := self._issuers.get(issuer)) is None:
            raise unbelieved("its issuer is none that is believed here")
        grant = found.prove(token, header)
        if grant.caller.namespace not in ("default", *current.namespaces):
            raise unbelieved("it names a namespace that there is not")
        return grant


def _proof(headers: Headers) -> str:
    given = headers.text(b"authorization")
    scheme, _, proof = given.partition(" ")
    if scheme.lower() == "bearer" and proof.strip():
        return proof.strip()
    if (key := headers.text(b"x-api-key").strip()) and not given:
        return key
    raise Refusal(401, "This needs a key, and none was given.", _HINT)


def _grant(id: str, entry: KeyEntry) -> Grant:  # noqa: A002 - the key's own field is called so
    return Grant(
        caller=Caller(id=id, namespace=entry.namespace, user=entry.user, tenant=entry.tenant),
        scopes=known_scopes(entry.scopes),
        quota=Quota(requests=entry.requests, tokens=entry.tokens),
        expires=entry.expires,
    )


def _issuers(current: CallersSnapshot) -> "dict[str, Issuer]":
    if not current.issuers:
        return {}
    from serving.gateway.tokens import Issuer

    found = {}
    for entry in current.issuers:
        try:
            found[entry.issuer] = Issuer(entry)
        except SlipwayError as error:
            sys.stderr.write(f"gateway: tokens of {entry.issuer} are not believed: {error}\n")
    return found
