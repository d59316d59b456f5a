"""What a token must be to be believed: every way in which one may not."""

import base64
import hmac
import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt
from joserfc.errors import SecurityWarning

from infra.callers.snapshot import CallersSnapshot, NamespaceEntry
from release.callers import Action, Caller
from serving.gateway.bodies import Headers
from serving.gateway.callers import Callers
from serving.gateway.passes import Pass
from serving.gateway.refusing import Refusal
from tests.fakes.callers import AUDIENCE, ISSUER, Login

LOGIN = Login("one", "two")
OTHER = Login("one")
SHOP = NamespaceEntry(capture="none", sample=1.0, strict=False, when_full="refuse", days=30)


def callers(folder: Path, **more: Any) -> Callers:
    snapshot = CallersSnapshot(number=1, issuers=[LOGIN.entry(**more)], namespaces={"shop": SHOP})
    snapshot.save(folder)
    found = Callers(folder, folder / "pepper")
    assert found.look()
    return found


def prove(here: Callers, token: str) -> Pass:
    return here.prove(Headers([(b"authorization", f"Bearer {token}".encode("latin-1"))]))


def test_a_token_proves_a_user_for_what_its_scopes_say(tmp_path: Path) -> None:
    here = callers(tmp_path, tenant="tid", namespace="ns", grants=["default/docs:read"])
    found = prove(here, LOGIN.token(["shop/*:infer"], tid="acme", ns="shop"))
    assert found.caller == Caller(id=f"{ISSUER}#ann", namespace="shop", user="ann", tenant="acme")
    assert found.may("docs", Action.READ) and not found.may("docs", Action.INFER)
    # Seen again, it is not worked out anew.
    token = LOGIN.token()
    assert prove(here, token) is prove(here, token)
    listed = LOGIN.token(scope=["default/a:infer", "no scope", 7])
    assert prove(here, listed).may("a", Action.INFER)
    assert prove(here, LOGIN.token(scope={"odd": 1}, aud=["x", AUDIENCE])).caller.user == "ann"


def _b64(plain: bytes) -> str:
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def _by_hand(header: Mapping[str, Any], signature: Callable[[bytes], bytes]) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": int(time.time()) + 600}
    signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{signed}.{_b64(signature(signed.encode()))}"


def _deep(header: bytes, claims: bytes) -> str:
    return f"{_b64(header)}.{_b64(claims)}.{_b64(b'x')}"


def _hmac(key: bytes) -> Callable[[bytes], bytes]:
    return lambda signed: hmac.digest(key, signed, "sha256")


def _nothing(_signed: bytes) -> bytes:
    return b""


PEM = LOGIN.keys[0].as_pem(private=False)
PUBLIC = json.dumps(LOGIN.public()[0]).encode()


def _embedded() -> str:
    """A token that brings its own key along, as `jwk` and `jku` in its header."""
    header = {"jwk": OTHER.public()[0], "jku": "https://evil.example/keys"}
    return OTHER.token(header=header)


def _ended(token: str) -> str:
    head, claims, _ = token.split(".")
    return f"{head}.{claims}."


TRAPS: dict[str, Callable[[], str]] = {
    "none": lambda: _by_hand({"alg": "none", "kid": "one"}, _nothing),
    "None": lambda: _by_hand({"alg": "None", "kid": "one"}, _nothing),
    "no alg": lambda: _by_hand({"kid": "one"}, _nothing),
    "public key as secret": lambda: _by_hand({"alg": "HS256", "kid": "one"}, _hmac(PEM)),
    "jwk as secret": lambda: _by_hand({"alg": "HS256", "kid": "one"}, _hmac(PUBLIC)),
    "not signed": lambda: _ended(LOGIN.token()),
    "another's signature": OTHER.token,
    "brings its key": _embedded,
    "algorithm not allowed": lambda: jwt.encode(
        {"alg": "RS512", "kid": "one"}, {"iss": ISSUER}, LOGIN.keys[0], algorithms=["RS512"]
    ),
    "wrong issuer": lambda: LOGIN.token(iss="https://login.example/other"),
    "no issuer": lambda: LOGIN.token(iss=None),
    "issuer is a list": lambda: LOGIN.token(iss=[ISSUER]),
    "wrong audience": lambda: LOGIN.token(aud="other"),
    "no audience": lambda: LOGIN.token(aud=None),
    "audience among none": lambda: LOGIN.token(aud=[]),
    "expired": lambda: LOGIN.token(exp=int(time.time()) - 31),
    "never expires": lambda: LOGIN.token(exp=None),
    "expires in words": lambda: LOGIN.token(exp="tomorrow"),
    "not yet": lambda: LOGIN.token(nbf=int(time.time()) + 60),
    "issued later": lambda: LOGIN.token(iat=int(time.time()) + 600),
    "unknown kid": lambda: LOGIN.token(header={"kid": "three"}),
    "no kid of two keys": lambda: jwt.encode(
        {"alg": "RS256"}, {"iss": ISSUER}, LOGIN.keys[0], algorithms=["RS256"]
    ),
    "kid of another key": lambda: LOGIN.token(header={"kid": "two"}),
    "no subject": lambda: LOGIN.token(sub=None),
    "subject is a number": lambda: LOGIN.token(sub=7),
    "namespace there is not": lambda: LOGIN.token(ns="bank"),
    "too long": lambda: LOGIN.token(more="x" * 8_192),
    "two dots": lambda: "a.b.c",
    "only dots": lambda: "..",
    "no json": lambda: f"{_b64(b'{')}.{_b64(b'{}')}.{_b64(b'x')}",
    "list of claims": lambda: f"{_b64(b'{}')}.{_b64(b'[1]')}.{_b64(b'x')}",
    "claims without a bottom": lambda: _deep(b'{"alg":"RS256"}', b"[" * 3_000),
    "header without a bottom": lambda: _deep(b"[" * 3_000, b"{}"),
    "latin": lambda: "ü.ü.ü",
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_no_token_of_ours_proves_nobody(tmp_path: Path, trap: str) -> None:
    here = callers(tmp_path, namespace="ns", grants=["*/*:infer"])
    with pytest.raises(Refusal) as found:
        prove(here, TRAPS[trap]())
    assert found.value.status == 401
    # The same holder, without the trap.
    assert prove(here, LOGIN.token()).may("any", Action.INFER)


def test_clocks_may_differ_by_the_leeway(tmp_path: Path) -> None:
    here, now = callers(tmp_path, leeway=30), int(time.time())
    assert prove(here, LOGIN.token(exp=now - 10)).caller.user == "ann"
    assert prove(here, LOGIN.token(nbf=now + 10)).caller.user == "ann"


def test_a_token_that_was_seen_is_worth_nothing_once_it_has_expired(tmp_path: Path) -> None:
    here = callers(tmp_path, leeway=0)
    token = LOGIN.token(exp=int(time.time()) + 2)
    prove(here, token)
    time.sleep(2.1)
    with pytest.raises(Refusal, match="expired"):
        prove(here, token)


def test_without_the_issuers_keys_it_is_not_said_that_a_token_is_bad(tmp_path: Path) -> None:
    here = callers(tmp_path, keys=[])
    with pytest.raises(Refusal) as found:
        prove(here, LOGIN.token())
    assert found.value.status == 503


def test_a_secret_among_an_issuers_keys_is_no_key(tmp_path: Path) -> None:
    secret = jwk.OctKey.import_key("s" * 32, {"kid": "one"})
    plain = {**secret.as_dict(), "kid": "one"}
    here = callers(tmp_path, keys=[plain], algorithms=["RS256"])
    token = jwt.encode({"alg": "HS256", "kid": "one"}, {"iss": ISSUER, "aud": AUDIENCE}, secret)
    with pytest.raises(Refusal) as found:
        prove(here, token)
    assert found.value.status == 401


def test_keys_of_curves_sign_as_well(tmp_path: Path) -> None:
    for alg, key in (
        ("ES256", jwk.ECKey.generate_key("P-256", {"kid": "e"})),
        ("Ed25519", jwk.OKPKey.generate_key("Ed25519", {"kid": "e"})),
        ("EdDSA", jwk.OKPKey.generate_key("Ed25519", {"kid": "e"})),
    ):
        folder = tmp_path / alg
        folder.mkdir()
        here = callers(folder, keys=[key.as_dict(private=False)], algorithms=[alg])
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bo", "exp": int(time.time()) + 60}
        with warnings.catch_warnings():
            # The library would have people write Ed25519 instead, which not every issuer does.
            warnings.simplefilter("ignore", SecurityWarning)
            token = jwt.encode({"alg": alg, "kid": "e"}, claims, key, algorithms=[alg])
        assert prove(here, token).caller.user == "bo"
