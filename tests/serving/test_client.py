"""A replica asked from blocking code, whatever its task; the replica has no model."""

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from evaluation.examples import Span
from evaluation.harness import Marks, Said
from infra.processes import this
from release.errors import Unavailable, Unsafe
from serving.client import ReplicaSession
from serving.replica.messages import (
    Answer,
    Ask,
    Classes,
    Entities,
    Entity,
    Found,
    Infer,
    Reply,
    Vectors,
)
from tasks.answers import answered
from tests.fakes.wire_replica import WireReplica


class Knowing(WireReplica):
    """It answers as it is told to."""

    def __init__(self, find: Callable[[list[str]], Found]) -> None:
        super().__init__("sha256:knowing")
        self.find = find

    def _reply(self, question: Infer | Ask) -> Reply:
        if isinstance(question, Ask):
            return super()._reply(question)
        found = self.find(question.texts)
        return Answer(
            id=question.id, found=found, tokens=1, queue_ms=0, tokenize_ms=0, compute_ms=0
        )


class Silent(Knowing):
    """It takes whatever comes and answers nothing."""

    def _heard(self, body: bytes) -> None:
        self.body = body


@contextmanager
def session(
    find: Callable[[list[str]], Found], kind: type[Knowing] = Knowing
) -> Iterator[ReplicaSession]:
    """Serve it from a thread of its own, and be ready."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="knowing", daemon=True)
    thread.start()
    with TemporaryDirectory(prefix="slipway-test-") as folder:
        address = Path(folder) / "replica"
        served = loop.create_unix_server(lambda: kind(find).frames, str(address))
        server = asyncio.run_coroutine_threadsafe(served, loop).result()
        ourselves = this("test")
        made = ReplicaSession(ourselves, address, Path(folder) / "log")
        try:
            if kind is Knowing:
                made.wait_ready(5)
            yield made
        finally:
            made.close()
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _entities(texts: list[str]) -> Entities:
    return Entities([[Entity(0, len(text), "PER", 0.9)] if text else [] for text in texts])


def _vectors(texts: list[str]) -> Vectors:
    numbers = [number for text in texts for number in (float(len(text)), 0.5)]
    return Vectors(width=2, data=struct.pack(f"<{len(numbers)}f", *numbers))


def test_entities_are_told_apart_text_by_text() -> None:
    with session(_entities) as asked:
        found = [answered(one) for one in asked.ask(["Anna", ""])]
        assert found == [Marks(frozenset({Span(0, 4, "PER")})), Marks(frozenset())]
        many = [answered(one) for one in asked.ask_many(["a" * n for n in range(1, 40)], 8)]
        assert many == [Marks(frozenset({Span(0, n, "PER")})) for n in range(1, 40)]


def test_vectors_are_told_apart_text_by_text() -> None:
    with session(_vectors) as asked:
        found = [answered(one) for one in asked.ask(["a", "four"])]
        wanted = [[1.0, 0.5], [4.0, 0.5]]
        assert [one[0].tolist() for one in found if isinstance(one[0], np.ndarray)] == wanted


def test_a_classifier_says_its_label_and_how_sure_it_is_of_that_one() -> None:
    with session(
        lambda texts: Classes(["alpha"] * len(texts), [[0.25, 0.75]] * len(texts))
    ) as asked:
        assert [answered(one) for one in asked.ask(["x", "y"])] == [Said("alpha", 0.25)] * 2
        assert [one.label for one in asked.predict_many(["x"] * 5, 2)] == ["alpha"] * 5


def test_a_label_that_a_replica_has_not_is_refused() -> None:
    odd = Classes(["omega"], [[0.25, 0.75]])
    with session(lambda texts: odd) as asked, pytest.raises(Unsafe, match="'omega', which is none"):
        asked.ask(["x"])


def test_what_is_no_classifier_does_not_classify() -> None:
    with session(_vectors) as asked, pytest.raises(Unsafe, match="Embedding, not with classes"):
        asked.predict(["x"])


@pytest.mark.parametrize(
    "found", [Entities([[]]), Vectors(width=2, data=bytes(8)), Vectors(width=0, data=b"")]
)
def test_an_answer_about_another_number_of_texts_is_refused(found: Found) -> None:
    with session(lambda texts: found) as asked, pytest.raises(Unsafe, match="texts, not 2"):
        asked.ask(["x", "y"])


@pytest.mark.timeout(30)
def test_a_replica_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.client.BUDGET_MS", 100)
    monkeypatch.setattr("serving.client.SLACK_SECONDS", 0.1)
    with session(_vectors, Silent) as asked:
        with pytest.raises(Unavailable, match="not ready within 0.3 s"):
            asked.wait_ready(0.3)
        with pytest.raises(Unavailable, match="said nothing for 0.2 s"):
            asked.ask(["x"])
        with pytest.raises(Unavailable, match="said nothing for 0.2 s"):
            asked.ask_many(["x"] * 3, 2)
