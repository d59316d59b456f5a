"""A replica process, asked as the evaluation and the gateway ask it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.processes import alive, free_port, start, stop
from infra.settings import inherited
from release.errors import Invalid
from release.variants import RECIPES
from serving.agent.replica import ask
from serving.client import replica_command, replica_sessions
from serving.replica.address import Address
from serving.replica.engines import Tokens
from serving.replica.jobs import Job
from serving.replica.messages import (
    LONGEST_FRAME,
    Answer,
    Classes,
    Kind,
    Problem,
    Vectors,
    read_reply,
)
from serving.replica.verify import read_manifest
from serving.replica.wire import Connection, ReplicaGone, ReplicaProblem
from serving.replica.worker import UNFIT, Peer, Replica
from tests.fakes.suite import LABELS
from tests.fakes.tiny_store import SHORT
from tests.serving.asking import asked
from tests.serving.conftest import ROOT, Tiny
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


def test_token_ids_are_as_good_as_texts(tiny: Tiny) -> None:
    variant = tiny.variant(3)
    tokens = Tokens(tiny.folder(variant), {}, SHORT)
    texts = ["the text is about beta", "gamma"]
    with replica_sessions({variant.digest: tiny.folder(variant)}) as (session,):
        by_text, by_ids = asked(session, texts), asked(session, ids=tokens.encode(texts))
        assert isinstance(by_text.found, Classes) and isinstance(by_ids.found, Classes)
        assert by_ids.found.labels == by_text.found.labels == ["beta", "gamma"]
        assert by_ids.tokens == by_text.tokens == 10
        for wrong, kind in ([[1] * (SHORT + 1)], Kind.TOO_LONG), ([[10**9]], Kind.INVALID):
            with pytest.raises(ReplicaProblem) as caught:
                asked(session, ids=wrong)
            assert caught.value.kind == kind
        for both in False, True:
            with pytest.raises(ReplicaProblem) as caught:
                asked(session, ["alpha"] * both, [[1]] * both)
            assert caught.value.kind == Kind.INVALID


def test_it_says_what_it_has_done(tier: Tier, tiny: Tiny) -> None:
    variant = tiny.variant(1)
    tier.replica(variant)
    address = tier.sockets / variant.digest[-12:]
    until(lambda: (said := ask(address)) and said.ready)
    before = ask(address)
    assert before is not None
    assert (before.task, before.labels, before.width) == ("text-classification", [*LABELS], 0)
    assert (before.load.batches, before.load.texts) == (0, 0)
    assert before.load.memory_bytes > 10**7 and before.load.cpu_seconds > 0
    gentle = {os.sched_getscheduler(one.id) for one in psutil.Process(before.pid).threads()}
    assert gentle == {os.SCHED_BATCH}, "no thread stops another when it wakes"

    async def once() -> None:
        line = await Connection.connect(str(address))
        await line.infer(["about alpha", "beta"], 10_000)
        line.close()

    asyncio.run(once())
    after = ask(address)
    assert after is not None
    assert (after.load.batches, after.load.texts, after.load.tokens) == (1, 2, 7)
    assert after.load.slots == 16
    assert (after.load.queued_texts, after.load.queued_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("recipe", "device", "said"),
    [
        ("torch-fp32", "cuda", "There is no device cuda that torch could use"),
        ("torch-fp32", "tpu", "torch runs on cpu or cuda here, not on tpu"),
        ("torch-int8", "cuda", "torch-int8 runs on cpu only, not on cuda"),
        ("onnx-int8", "cuda", "There is no device cuda for ONNX Runtime. Hint: there is cpu"),
        ("openvino-int8", "NPU", "There is no device NPU for OpenVINO"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    tiny: Tiny, tmp_path: Path, recipe: str, device: str, said: str
) -> None:
    variant = tiny.variant(1, recipe)
    command = replica_command(tiny.folder(variant), variant.digest, tmp_path / "socket", 1)
    code, words = _ends([*command, "--device", device])
    assert code == UNFIT
    assert said.split(" Hint", maxsplit=1)[0] in words


def test_threads_are_divided_as_measured(tiny: Tiny, tmp_path: Path) -> None:
    variant = tiny.variant(1)
    log = tmp_path / "log"
    command = replica_command(tiny.folder(variant), variant.digest, tmp_path / "socket", 2)
    process = start("replica", [*command, "--tune", "latency"], env=inherited(), log=log)
    try:
        until(lambda: "ready" in log.read_text(), 60)
    finally:
        stop([process], grace=5)
    said = log.read_text()
    assert "texts a second on 1×2 threads (latency)" in said
    assert "texts a second on 2×1 threads (latency)" in said
    assert re.search(r"takes (1×2|2×1) threads", said)


def _ends(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        command, cwd=ROOT, env=inherited(), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


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


class Transport(asyncio.Transport):
    """It keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def test_an_answer_that_no_frame_holds_is_a_problem(tiny: Tiny) -> None:
    peer = Peer(Replica(read_manifest(tiny.folder(tiny.variant(1)))))
    transport = Transport()
    peer.frames.connection_made(transport)
    peer._jobs[7] = Job(id=7, texts=["x"], deadline=0.0, answer=peer._answer)
    found = Vectors(width=1, data=bytes(LONGEST_FRAME))
    large = Answer(id=7, found=found, tokens=1, queue_ms=0, tokenize_ms=0, compute_ms=0)
    peer._answer(large)
    (said,) = transport.written
    problem = read_reply(said[4:])
    assert isinstance(problem, Problem)
    assert (problem.id, problem.kind) == (7, Kind.TOO_LONG)
    assert f"bytes, of {LONGEST_FRAME} at most; ask for less" in problem.message


def test_a_replica_that_still_loads_ends_at_once(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from release.variants import Manifest, Task
from serving.replica import worker
worker.schedule = lambda *how: time.sleep(60)
worker.verify = lambda folder, digest: Manifest(
    candidate="m@1", parent="", recipe="torch-fp32", recipe_digest="", files={},
    task=Task.TEXT_CLASSIFICATION, labels=("a", "b"), longest_input=8,
)
code = worker.main()
sys.stderr.flush()
worker.os._exit(code)
"""
    address, log = tmp_path / "socket", tmp_path / "log"
    command = [sys.executable, "-c", code, "--variant", ".", "--digest", "", "--listen"]
    process = start("replica", [*command, str(address)], env=inherited(), log=log)
    try:
        until(lambda: address.exists() and ask(address), 20)
        os.kill(process.pid, signal.SIGTERM)
        until(lambda: not alive(process), 10)
    finally:
        stop([process], grace=0)
    assert "stopped" in log.read_text()
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
