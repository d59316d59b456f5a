"""Tokens of issuers: what a JWT proves. Imported only where there is an issuer.

Source: RFC 7519, and RFC 8725 for what to distrust: the algorithm is one of the issuer's own list,
keys are public ones of the kind that it wants, and `kid` chooses among them.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from joserfc import jwk, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jws import extract_compact

from infra.callers.snapshot import IssuerEntry
from release.callers import Caller, Grant, Quota, Scope, known_scopes, scopes_of
from serving.gateway.refusing import Refusal

LONGEST = 8_192
"""Characters of a token."""

MOST_SCOPES = 100
_KIND = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class Issuer:
    """Somebody whose tokens are believed.

    Args:
        entry: as the snapshot has it.
    """

    def __init__(self, entry: IssuerEntry) -> None:
        self._entry = entry
        self._keys = _keys(entry.keys)
        self._grants = scopes_of(entry.grants)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=entry.leeway,
            iss={"essential": True, "value": entry.issuer},
            aud={"essential": True, "value": entry.audience},
            exp={"essential": True},
        )

    def prove(self, token: str, header: Mapping[str, Any]) -> Grant:
        """Say what a token of this issuer is good for.

        Raises:
            Refusal: with status 401: it proves nothing; 503 where the keys are not known yet.
        """
        if not self._keys:
            said = f"The keys of {self._entry.issuer} are not known yet."
            raise Refusal(503, said, retry=2)
        key = self._key(header)
        try:
            claims = self._signed(token, key)
            self._claims.validate(dict(claims))
        except (JoseError, ValueError, TypeError) as error:
            raise unbelieved(str(error)) from error
        return self._grant(claims)

    def _signed(self, token: str, key: Any) -> dict[str, Any]:
        with warnings.catch_warnings():
            # The library would have issuers write Ed25519 for EdDSA, which is theirs to change.
            warnings.simplefilter("ignore", SecurityWarning)
            found: dict[str, Any] = jwt.decode(token, key, algorithms=self._entry.algorithms).claims
        return found

    def _key(self, header: Mapping[str, Any]) -> Any:
        alg, kid = str(header.get("alg")), header.get("kid")
        if alg not in self._entry.algorithms:
            raise unbelieved(f"its algorithm is {alg[:20]!r}")
        good = [one for one in self._keys if one.key_type == _KIND[alg[:2]]]
        found = [one for one in good if one.kid == kid] if kid is not None else good
        if len(found) != 1:
            raise unbelieved("its kid names no key of the issuer" if kid else "it names no key")
        return found[0]

    def _grant(self, claims: Mapping[str, Any]) -> Grant:
        entry = self._entry
        subject = _text(claims, "sub")
        namespace = _text(claims, entry.namespace) if entry.namespace else ""
        caller = Caller(
            id=f"{entry.issuer}#{subject}",
            namespace=namespace or "default",
            user=_text(claims, entry.user),
            tenant=_text(claims, entry.tenant) if entry.tenant else "",
        )
        if not (subject and caller.user):
            raise unbelieved(f"it has no sub, or no {entry.user}")
        scopes = (*self._grants, *_scopes(claims.get(entry.scopes)))
        quota = Quota(requests=entry.requests, tokens=entry.tokens)
        until = float(claims["exp"]) + entry.leeway
        return Grant(caller=caller, scopes=scopes, quota=quota, expires=until)


def peeked(token: str) -> tuple[Mapping[str, Any], str]:
    """Read, without believing it, what a token says of its key and its issuer.

    Raises:
        Refusal: with status 401, where it is no token.
    """
    if len(token) > LONGEST:
        raise unbelieved(f"it has {len(token)} characters, of {LONGEST} at most")
    try:
        found = extract_compact(token.encode())
        claims = msgspec.json.decode(found.payload)
        header = found.headers()
    except (JoseError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise unbelieved("it cannot be read") from error
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return header, issuer if isinstance(issuer, str) else ""


def unbelieved(why: str) -> Refusal:
    """Say that a token proves nothing."""
    return Refusal(401, f"The token proves nobody: {why[:200]}.", "get a fresh one of its issuer")


def _keys(plain: Sequence[Mapping[str, Any]]) -> list[Any]:
    found = []
    for one in plain:
        try:
            found.append(jwk.import_key(dict(one)))
        except (JoseError, ValueError, TypeError, KeyError):
            # A kind that this library does not know signs no token that is believed here.
            continue
    return found


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > 200 or (value and not value.isprintable()):
        raise unbelieved(f"its {name} is no plain text of 200 characters at most")
    return value


def _scopes(given: object) -> tuple[Scope, ...]:
    """Read scopes of ours among whatever others a token lists."""
    words = given.split() if isinstance(given, str) else given
    return known_scopes(map(str, words[:MOST_SCOPES])) if isinstance(words, list) else ()
