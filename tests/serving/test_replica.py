"""A replica process, asked as the evaluation and the gateway ask it."""

import os
import signal
import socket
from pathlib import Path

import pytest

from infra.processes import alive, free_port, start, stop
from infra.settings import inherited
from release.errors import Invalid
from release.variants import RECIPES
from serving.agent.replica import ask
from serving.client import replica_command, replica_sessions
from serving.replica.address import Address
from serving.replica.messages import Kind
from serving.replica.wire import ReplicaGone, ReplicaProblem
from tests.fakes.tiny_store import SHORT
from tests.serving.conftest import Tiny
from tests.serving.tier import Tier, until


@pytest.mark.parametrize("recipe", [recipe.label for recipe in RECIPES])
def test_it_answers_with_labels_and_probabilities(tiny: Tiny, recipe: str) -> None:
    variant = tiny.variant(1, recipe)
    with replica_sessions({variant.digest: tiny.folder(variant)}) as (session,):
        texts = [f"the text is about {label}" for label in ("alpha", "beta", "gamma")]
        found = session.predict(texts)
        assert [one.label for one in found] == ["alpha", "beta", "gamma"]
        assert all(sum(one.scores) == pytest.approx(1, abs=1e-5) for one in found)
        many = session.predict_many(texts * 20, 8)
        assert [one.label for one in many] == ["alpha", "beta", "gamma"] * 20
        assert session.memory_bytes() > 10**7


def test_what_is_too_long_is_refused_and_never_cut(tiny: Tiny) -> None:
    variant = tiny.variant(3)
    fitting, longer = " ".join(["alpha"] * (SHORT - 2)), " ".join(["alpha"] * (SHORT - 1))
    with replica_sessions({variant.digest: tiny.folder(variant)}) as (session,):
        assert session.predict([fitting])[0].label == "alpha"
        with pytest.raises(ReplicaProblem) as caught:
            session.predict([longer])
        assert caught.value.kind == Kind.TOO_LONG
        assert f"{SHORT + 1} tokens" in str(caught.value)
        assert str(SHORT) in str(caught.value)
        # One text that is too long costs nobody else an answer.
        assert session.predict([fitting])[0].label == "alpha"


def test_a_kill_is_noticed_at_once(tiny: Tiny) -> None:
    variant = tiny.variant(1)
    with replica_sessions({variant.digest: tiny.folder(variant)}) as (session,):
        os.kill(session._process.pid, signal.SIGKILL)
        with pytest.raises(ReplicaGone):
            session.predict(["the word alpha"])


@pytest.mark.parametrize(
    "garbage",
    [b"\x05\x00\x00\x00hello", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64],
)
def test_garbage_on_the_wire_hurts_nobody(tier: Tier, tiny: Tiny, garbage: bytes) -> None:
    variant = tiny.variant(1)
    process = tier.replica(variant)
    address = tier.sockets / variant.digest[-12:]
    until(lambda: (said := ask(address)) and said.ready)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(str(address))
        line.sendall(garbage)
        line.shutdown(socket.SHUT_WR)
        while line.recv(4096):
            pass
    assert alive(process)
    status = ask(address)
    assert status is not None and status.ready


def test_a_replica_that_is_asked_to_end_removes_its_socket(
    tier: Tier, tiny: Tiny, tmp_path: Path
) -> None:
    variant = tiny.variant(1)
    process = tier.replica(variant)
    address = tier.sockets / variant.digest[-12:]
    until(lambda: (said := ask(address)) and said.ready)
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: not alive(process))
    assert not address.exists()


def test_a_replica_may_listen_for_other_hosts(tiny: Tiny, tmp_path: Path) -> None:
    variant = tiny.variant(1, "onnx-int8")
    address = f"tcp://127.0.0.1:{free_port('127.0.0.1')}"
    command = replica_command(tiny.folder(variant), variant.digest, address, 1)
    process = start("replica", command, env=inherited(), log=tmp_path / "log")
    try:
        until(lambda: (said := ask(address)) and said.ready)
    finally:
        stop([process], grace=10)
    assert ask(address) is None


@pytest.mark.parametrize("text", ["tcp://", "tcp://host", "tcp://:80", "tcp://host:x", "tcp://h:0"])
def test_an_address_names_host_and_port(text: str) -> None:
    with pytest.raises(Invalid, match="is no address"):
        Address.parse(text)
    assert Address.parse("tcp://[::1]:80") == Address(host="::1", port=80)
    assert Address.parse("/run/x.sock") == Address(path="/run/x.sock")
