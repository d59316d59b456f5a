"""Anchors reach another host: each, in order, however long that is away; nobody waits for it."""

import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr

from infra.calls.checkpoints import Checkpoint, Signer, append, read
from infra.processes import free_port
from infra.settings import Settings, inherited_by_serving
from release.errors import Invalid, Unavailable
from release.releases import Desired
from serving.agent import anchoring, sending
from serving.agent.anchoring import Anchoring
from serving.agent.sending import Outbox, Sender
from serving.anchored import Anchored
from serving.gateway.standing import Anchoring as Gauges
from tests.fakes.anchor_taker import Taker, taking
from tests.serving.conftest import Tiny
from tests.serving.host import Host
from tests.serving.tier import until
from tests.system.home import Home


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchoring, "ANCHOR_SECONDS", 0)
    monkeypatch.setattr(anchoring, "FILE_SECONDS", 0)
    monkeypatch.setattr(sending, "FIRST_PAUSE", 0.05)


@pytest.fixture
def taker(tmp_path: Path) -> Iterator[Taker]:
    made = Taker(tmp_path / "taken.jsonl")
    made.going.set()
    with taking(made):
        yield made


class Stand:
    """A home whose gateway writes a checkpoint when it is told to."""

    def __init__(self, root: Path, url: str) -> None:
        secret = SecretStr("Bearer abc")
        self.settings = Settings(home=root, anchors=url, anchors_authorization=secret)
        self.settings.run.mkdir(parents=True)
        self.place = self.settings.journal / "host_g1"
        self.place.mkdir(parents=True)
        self._signer = Signer(self.settings.calls_secrets)
        self.number = 0

    def checkpoint(self) -> None:
        self.number += 1
        append(
            self.place,
            self._signer.checkpoint(
                gateway="host_g1", segment=1, sequence=self.number, chain=bytes(32)
            ),
        )

    def gauges(self) -> str:
        registry = CollectorRegistry()
        registry.register(Gauges(self.settings.run))
        lines = generate_latest(registry).decode().splitlines()
        return " ".join(line for line in lines if not line.startswith("#"))


def has(taker: Taker, number: int) -> bool:
    return sequences(taker) == list(range(1, number + 1))


def sequences(taker: Taker) -> list[int]:
    return [msgspec.json.decode(one, type=Checkpoint).sequence for one in taker.lines]


def test_each_anchor_is_sent_as_json_with_what_proves_us(tmp_path: Path, taker: Taker) -> None:
    home = Stand(tmp_path / "home", taker.url)
    agent = Anchoring(home.settings, "host")
    for number in range(1, 4):
        home.checkpoint()
        agent.keep(None)
        agent.keep(None)
        until(partial(has, taker, number))
    until(lambda: home.gauges() == "slipway_anchors_waiting 0.0 slipway_anchors_trouble 0.0")
    agent.close(None)
    (headers, *_) = taker.headers
    told = {name.lower(): value for name, value in headers.items()}
    assert (told["authorization"], told["content-type"]) == ("Bearer abc", "application/json")
    kept = [one for _, one in read(taker.path) if one is not None]
    assert [one.sequence for one in kept] == [1, 2, 3]
    assert all(one.signature for one in kept)


def test_none_is_lost_while_the_other_side_is_away_nor_with_the_agent(
    tmp_path: Path,
) -> None:
    port = free_port("127.0.0.1")
    home = Stand(tmp_path / "home", f"http://user:secret@127.0.0.1:{port}/anchors?token=secret")
    agent = Anchoring(home.settings, "host")
    home.checkpoint()
    agent.keep(None)
    until(lambda: agent._sender is not None and agent._sender.trouble)
    said = rf"http://127.0.0.1:{port}/anchors takes no anchors: .*refused"
    for _ in range(3):
        home.checkpoint()
        with pytest.raises(Unavailable, match=said) as found:
            agent.keep(None)
        assert "secret" not in str(found.value)
    until(lambda: home.gauges() == "slipway_anchors_waiting 4.0 slipway_anchors_trouble 1.0")
    agent.close(None)
    taker = Taker(tmp_path / "taken.jsonl", status=503)
    taker.going.set()
    with taking(taker, port):
        after = Anchoring(home.settings, "host")
        until(lambda: len(taker.headers) > 2)
        assert taker.lines == []
        taker.status = 200
        until(lambda: sequences(taker) == [1, 2, 3, 4])
        home.checkpoint()
        after.keep(None)
        until(lambda: sequences(taker) == [1, 2, 3, 4, 5])
        after.close(None)
        again = Anchoring(home.settings, "host")
        until(lambda: home.gauges().startswith("slipway_anchors_waiting 0.0"))
        assert sequences(taker) == [1, 2, 3, 4, 5]
        again.close(None)
    assert sequences(taker) == [1, 2, 3, 4, 5, 5], "each agent ends with the newest, and none less"


def test_nobody_waits_for_a_receiver_that_does_not_answer(tmp_path: Path, taker: Taker) -> None:
    taker.going.clear()
    home = Stand(tmp_path / "home", taker.url)
    agent = Anchoring(home.settings, "host")
    began = time.monotonic()
    for _ in range(3):
        home.checkpoint()
        agent.keep(None)
    agent.close(None)
    assert time.monotonic() - began < 5
    assert taker.lines == []


@pytest.mark.parametrize(("status", "taken"), [(409, True), (302, False), (401, False)])
def test_what_is_there_already_is_taken_and_what_is_refused_is_sent_again(
    tmp_path: Path, taker: Taker, status: int, *, taken: bool
) -> None:
    taker.status = status
    home = Stand(tmp_path / "home", taker.url)
    agent = Anchoring(home.settings, "host")
    home.checkpoint()
    agent.keep(None)
    until(lambda: len(taker.headers) > (0 if taken else 2))
    waiting, trouble = ("0.0", "0.0") if taken else ("1.0", "1.0")
    said = f"slipway_anchors_waiting {waiting} slipway_anchors_trouble {trouble}"
    until(lambda: home.gauges() == said)
    agent.close(None)


def test_an_outbox_is_emptied_once_all_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "KEPT_BYTES", 1_000)
    signer, box = Signer(tmp_path / "secrets"), Outbox(tmp_path / "box")
    largest, sent = 0, list[int]()
    for number in range(20):
        for more in (1, 2):
            box.add(
                signer.checkpoint(
                    gateway="host_g1", segment=1, sequence=2 * number + more, chain=bytes(32)
                )
            )
        for _ in range(2):
            found = box.first()
            assert found is not None
            sent.append(found[0].sequence)
            box.taken(found[1])
            assert Outbox(tmp_path / "box").waiting == box.waiting
        largest = max(largest, (tmp_path / "box" / "anchors.jsonl").stat().st_size)
        assert box.first() is None
    assert sent == list(range(1, 41))
    assert largest < 2_000


def test_what_cannot_be_read_in_an_outbox_is_passed_over(tmp_path: Path) -> None:
    signer, box = Signer(tmp_path / "secrets"), Outbox(tmp_path)
    box.add(signer.checkpoint(gateway="host_g1", segment=1, sequence=1, chain=bytes(32)))
    with (tmp_path / "anchors.jsonl").open("ab") as file:
        file.write(b"x" * 10_000 + b'{"at_us":1')
    box.add(signer.checkpoint(gateway="host_g1", segment=1, sequence=2, chain=bytes(32)))
    (tmp_path / "taken").write_text("99999999")
    again = Outbox(tmp_path)
    assert again.waiting == 2
    found = []
    while (one := again.first()) is not None:
        found.append(one[0].sequence)
        again.taken(one[1])
    assert found == [1, 2]


def test_the_last_before_a_silence_is_not_left_out_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchoring, "FILE_SECONDS", 0.2)
    home = Stand(tmp_path / "home", str(tmp_path / "anchors.jsonl"))
    Anchored(waiting=1, trouble="of before").save(home.settings.run)
    agent = Anchoring(home.settings, "host")
    for _ in range(2):
        home.checkpoint()
        agent.keep(None)

    def filed() -> list[int]:
        agent.keep(None)
        found = read(tmp_path / "anchors.jsonl")
        return [one.sequence for _, one in found if one is not None]

    assert filed() == [1]
    until(lambda: filed() == [1, 2])
    home.checkpoint()
    agent.close(None)
    assert filed() == [1, 2, 3], "what is signed at the end does not wait"
    assert Anchored.load(home.settings.run) is None and home.gauges() == ""


@pytest.mark.parametrize("name", ["SLIPWAY_ANCHORS_AUTHORIZATION", "SLIPWAY_ANCHORS"])
def test_serving_is_not_told_what_proves_us(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://user:secret@host/anchors")
    assert name not in inherited_by_serving()


def test_a_url_that_is_none_is_told(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    box.add(Signer(tmp_path).checkpoint(gateway="g", segment=1, sequence=1, chain=bytes(32)))
    sender = Sender("http://", "", box, tmp_path)
    until(lambda: "takes no anchors" in sender.trouble)
    sender.close()


def test_nothing_ends_the_sending_unseen(tmp_path: Path, taker: Taker) -> None:
    signer, place = Signer(tmp_path), tmp_path / "box" / "anchors.jsonl"
    place.mkdir(parents=True)
    sender = Sender(taker.url, "", Outbox(tmp_path / "box"), tmp_path)
    until(lambda: "wait to be sent cannot be read: Is a directory" in sender.trouble)
    place.rmdir()
    sender.send(signer.checkpoint(gateway="host_g1", segment=1, sequence=1, chain=bytes(32)))
    until(lambda: has(taker, 1) and not sender.trouble)
    sender.close()
    strange = Sender(taker.url, "Bearer secr\u00e9t", Outbox(tmp_path / "other"), tmp_path)
    strange.send(signer.checkpoint(gateway="host_g1", segment=1, sequence=2, chain=bytes(32)))
    until(lambda: strange.trouble == "Anchors cannot be sent: UnicodeEncodeError.")
    strange.close()


@pytest.mark.parametrize("secret", ["Bearer secr\u00e9t", "Bearer secret ", "Bearer\nsecret"])
@pytest.mark.parametrize("name", ["anchors_authorization", "export_authorization"])
def test_a_secret_that_no_header_can_have_is_told_and_not_quoted(name: str, secret: str) -> None:
    with pytest.raises(Invalid, match=f"SLIPWAY_{name.upper()} is no value of a header") as told:
        Settings(**{name: SecretStr(secret)})
    assert "secr" not in str(told.value)


def test_a_folder_is_no_file_of_anchors(tmp_path: Path) -> None:
    home = Stand(tmp_path / "home", str(tmp_path))
    home.checkpoint()
    with pytest.raises(Unavailable, match=r"cannot be added to: Is a directory"):
        Anchoring(home.settings, "host").keep(None)


def test_what_was_sent_elsewhere_proves_what_is_here(
    tiny: Tiny, tmp_path: Path, taker: Taker
) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    host = Host(Home(folder), tiny, SLIPWAY_ANCHORS=taker.url)
    try:
        host.serve(Desired(model="tiny", champion=tiny.variant(1, "onnx-int8")))
        until(host.serves, 40)
        for _ in range(3):
            assert host.ask().status_code == 200
    finally:
        host.close()
    given = ("calls", "verify", "--anchors", str(taker.path))
    assert "by the last anchor; 0 since then" in host.home.slipway(*given).stdout
    (place,) = host.settings.journal.iterdir()
    (place / "checkpoints").unlink()
    with sqlite3.connect(host.settings.ledger.removeprefix("sqlite:///")) as ledger:
        ledger.execute("delete from anchors")
    ledger.close()
    path = place / "00000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    calls = [number for number, line in enumerate(lines) if line.startswith(b'{"call":')]
    path.write_bytes(b"".join(lines[: calls[-1]]))
    assert "proven up to call 0" in host.home.slipway("calls", "verify").stdout
    assert "its end was cut off" in host.home.slipway(*given, code=1).stdout
