"""Keys and issuers of tests, as a gateway's snapshot has them."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from joserfc import jwk, jwt

from infra.callers.pepper import hashed, pepper, written
from infra.callers.snapshot import IssuerEntry, KeyEntry

ISSUER = "https://login.example/shop"
AUDIENCE = "slipway"


def a_key(folder: Path, id_: str, *scopes: str, **more: Any) -> tuple[str, KeyEntry]:
    """Make a key of a gateway whose folder this is; give it and what the snapshot says of it."""
    secret = (id_ * 43)[:43]
    entry = KeyEntry(
        secret=hashed(pepper(folder / "pepper"), secret),
        scopes=list(scopes),
        **{"namespace": "default", **more},
    )
    return written(id_, secret), entry


def bearer(proof: str) -> dict[str, str]:
    return {"authorization": f"Bearer {proof}"} if proof else {}


class Login:
    """An issuer of tokens, with a key of its own.

    Args:
        kids: of its keys; the first signs.
    """

    def __init__(self, *kids: str) -> None:
        self.keys = [
            jwk.RSAKey.generate_key(2048, parameters={"kid": kid}) for kid in kids or ("one",)
        ]

    def public(self) -> list[dict[str, Any]]:
        return [one.as_dict(private=False) for one in self.keys]

    def jwks(self) -> bytes:
        return json.dumps({"keys": self.public()}).encode()

    def entry(self, **more: Any) -> IssuerEntry:
        plain: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "algorithms": ["RS256"],
            "keys": self.public(),
        }
        return IssuerEntry(**{**plain, **more})

    def token(
        self, scopes: Iterable[str] = (), header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Sign a token; a claim that is None is left out."""
        plain = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": int(time.time()) + 600,
            "scope": " ".join(("openid", *scopes)),
            **claims,
        }
        kept = {name: value for name, value in plain.items() if value is not None}
        head = {"alg": "RS256", "kid": self.keys[0].kid, **(header or {})}
        return jwt.encode(head, kept, self.keys[0], algorithms=[head["alg"]])
