"""The thread that computes: whom it drops, whom it spares, what it says when it is full."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from serving.replica.answers import ClassReader
from serving.replica.backlog import WINDOW, Backlog, Limits
from serving.replica.batching import Scheduler
from serving.replica.choosing import FULL_ROW, Packed, Padded
from serving.replica.engines import Ids, Outputs, Tokens
from serving.replica.engines.tokens import Item
from serving.replica.jobs import Job, Text
from serving.replica.messages import Answer, Classes, Kind, Problem
from serving.replica.pace import Pace
from tests.fakes.tiny_model import SPECIAL, save_tokenizer

WORDS = ["zero", "one", "two", "poison"]
FIRST = len(SPECIAL)
LONGEST = 64


@dataclass
class Naming:
    """An engine that names the word of a text, can be held up, and chokes on one word."""

    free: threading.Event = field(default_factory=threading.Event)
    batches: list[tuple[int, ...]] = field(default_factory=list)

    def predict(self, inputs: dict[str, Ids]) -> Outputs:
        assert self.free.wait(10)
        ids = inputs["input_ids"]
        self.batches.append(ids.shape)
        logits: Outputs = np.zeros((len(ids), len(WORDS)), dtype=np.float32)
        for number in range(len(WORDS)):
            logits[:, number] = (ids == FIRST + number).any(axis=1) * 5
        if logits[:, WORDS.index("poison")].any():
            raise RuntimeError("poison")
        return logits

    def twin(self) -> "Naming":
        return self

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class Desk:
    engine: Naming
    scheduler: Scheduler
    replies: dict[int, list[Answer | Problem]] = field(default_factory=dict)
    last: int = 0

    def ask(self, *texts: str, seconds: float = 10.0) -> Job:
        return self._ask(list(texts), [], seconds)

    def ask_ids(self, ids: list[list[int]]) -> Job:
        return self._ask([], ids, 10.0)

    def _ask(self, texts: list[str], ids: list[list[int]], seconds: float) -> Job:
        self.last += 1
        heard = self.replies.setdefault(self.last, [])
        deadline = time.monotonic() + seconds
        job = Job(id=self.last, texts=texts, ids=ids, deadline=deadline, answer=heard.append)
        if refused := self.scheduler.submit(job):
            heard.append(refused)
        return job

    def until_busy(self) -> None:
        """Have the engine hold one text, so that all that follows waits together."""
        self.ask("zero")
        deadline = time.monotonic() + 5
        while self.scheduler.queued and time.monotonic() < deadline:
            time.sleep(0.001)
        assert self.scheduler.queued == 0

    def finish(self) -> list[Answer | Problem]:
        """Let it compute all; every job must have been answered once."""
        self.engine.free.set()
        self.scheduler.drain(10)
        assert [len(heard) for heard in self.replies.values()] == [1] * self.last
        return [heard[0] for heard in self.replies.values()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    save_tokenizer({word: n for n, word in enumerate([*SPECIAL, *WORDS])}, tmp_path)
    tokens = Tokens(tmp_path, {"pad_token_id": 0}, LONGEST)
    engine = Naming()
    limits = Limits(texts=100, tokens=2_000)
    made = Desk(engine, Scheduler([engine], tokens, ClassReader(WORDS), limits=limits))
    yield made
    engine.free.set()
    made.scheduler.drain(10)


def _labels(reply: Answer | Problem) -> Sequence[str]:
    assert isinstance(reply, Answer), reply
    assert isinstance(reply.found, Classes)
    return reply.found.labels


def test_only_the_poison_fails(desk: Desk) -> None:
    desk.until_busy()
    for number in range(12):
        desk.ask(WORDS[number % 2] if number != 7 else "poison")
    replies = desk.finish()[1:]
    bad = replies.pop(7)
    assert isinstance(bad, Problem) and bad.kind == Kind.INTERNAL
    assert [list(_labels(one)) for one in replies] == [
        [WORDS[number % 2]] for number in range(12) if number != 7
    ]


def test_a_pace_is_learnt_of_what_was_computed_and_of_nothing_that_failed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[int] = []
    backlog = desk.scheduler._backlog
    monkeypatch.setattr(backlog, "learn", lambda tokens, seconds: learnt.append(tokens))
    desk.until_busy()
    for word in ("one", "poison", "two", "one"):
        desk.ask(word)
    desk.finish()
    # Each text has three tokens, and one of five is poison, in whichever batch that was.
    assert sum(learnt) == 4 * 3


def test_a_request_with_poison_in_it_is_answered_once(desk: Desk) -> None:
    desk.until_busy()
    desk.ask("one", "poison", "poison", "two", *["two"] * 40)
    desk.ask("two")
    _, bad, good = desk.finish()
    assert isinstance(bad, Problem) and bad.kind == Kind.INTERNAL
    assert _labels(good) == ["two"]


def test_what_nobody_waits_for_costs_nothing(desk: Desk) -> None:
    desk.until_busy()
    desk.ask("one").cancelled = True
    desk.ask("one", seconds=0.0)
    desk.ask("two")
    _, cancelled, expired, good = desk.finish()
    for one in (cancelled, expired):
        assert isinstance(one, Problem) and one.kind == Kind.EXPIRED
    assert _labels(good) == ["two"]
    assert sum(rows for rows, _ in desk.engine.batches) == 2


def test_a_large_request_is_computed_in_several_batches_and_answered_in_order(desk: Desk) -> None:
    texts = [WORDS[number % 3] for number in range(99)]
    texts[::5] = [f"{word} " * 30 for word in texts[::5]]
    desk.ask(*texts)
    (reply,) = desk.finish()
    assert _labels(reply) == [WORDS[number % 3] for number in range(99)]
    limits = Padded(longest=LONGEST)
    assert len(desk.engine.batches) > 99 / limits.texts
    assert all(
        rows <= limits.texts and rows * length <= limits.budget
        for rows, length in desk.engine.batches
    )


def test_a_full_queue_answers_at_once_with_how_long_it_will_take(desk: Desk) -> None:
    desk.engine.free.set()
    desk.ask("one")
    while not desk.replies[1]:
        time.sleep(0.001)
    desk.engine.free.clear()
    desk.until_busy()
    desk.ask(*["one"] * 100)
    desk.ask("two")
    (refused,) = desk.replies[4]
    assert isinstance(refused, Problem) and refused.kind == Kind.OVERLOADED
    assert re.match(r"100 texts of \d+ tokens wait already, of 100 and 2000 at", refused.message)
    assert refused.wait_seconds > 0
    desk.finish()


def test_a_replica_that_stops_takes_nothing_more_and_finishes_what_it_has(desk: Desk) -> None:
    desk.ask("two")
    good = desk.finish()[0]
    assert _labels(good) == ["two"]
    desk.ask("one")
    (refused,) = desk.replies[2]
    assert isinstance(refused, Problem) and refused.kind == Kind.NOT_READY


def test_a_queue_is_bounded_by_tokens_too(desk: Desk) -> None:
    desk.until_busy()
    long = "one " * (LONGEST - 2)
    desk.ask(*[long] * 31)
    _wait_until(lambda: desk.scheduler.load().queued_tokens == 31 * LONGEST)
    desk.ask("one")
    desk.ask(long)
    (refused,) = desk.replies[4]
    assert isinstance(refused, Problem) and refused.kind == Kind.OVERLOADED
    assert not refused.predicted
    assert re.match(r"32 texts of 198[67] tokens wait already, of 100 and 2000", refused.message)
    assert isinstance(desk.finish()[2], Answer)


def test_who_could_only_be_late_is_refused_at_once(desk: Desk) -> None:
    desk.scheduler._backlog.learn(tokens=10, seconds=1.0)
    desk.scheduler._backlog.learn(tokens=20, seconds=2.0)
    desk.until_busy()
    desk.ask("one one one one")
    desk.ask("one", seconds=0.3)
    desk.ask("one", seconds=5)
    (refused,) = desk.replies[3]
    assert isinstance(refused, Problem) and refused.kind == Kind.OVERLOADED
    assert refused.wait_seconds == pytest.approx(0.6, abs=0.3)
    assert isinstance(desk.finish()[3], Answer)


def test_token_ids_are_answered_as_the_texts_are(desk: Desk) -> None:
    desk.ask_ids([[2, FIRST + 1, 3], [2, FIRST + 2, 3]])
    assert _labels(desk.finish()[0]) == ["one", "two"]


@pytest.mark.parametrize(
    ("ids", "kind", "said"),
    [
        ([[2, FIRST + 4, 3]], Kind.INVALID, "8 is no token id within 0..7"),
        ([[2, -1, 3]], Kind.INVALID, "-1 is no token id within 0..7"),
        ([[2], []], Kind.INVALID, "item 1 has no token ids"),
        ([[2], [2] * (LONGEST + 1)], Kind.TOO_LONG, "65 tokens, of 64 at most"),
    ],
)
def test_ids_that_the_model_does_not_know_are_refused(
    desk: Desk, ids: list[list[int]], kind: Kind, said: str
) -> None:
    desk.until_busy()
    desk.ask_ids(ids)
    desk.ask("two")
    _, bad, good = desk.finish()
    assert isinstance(bad, Problem) and bad.kind == kind
    assert said in bad.message
    assert _labels(good) == ["two"]


def test_it_tokenises_ahead_while_the_engine_computes_but_only_so_far(desk: Desk) -> None:
    desk.scheduler._backlog._limits = Limits(texts=10_000, tokens=10**6)
    desk.until_busy()
    for _ in range(WINDOW + 50):
        desk.ask("one two")
    _wait_until(lambda: len(desk.scheduler._backlog._waiting) == WINDOW)
    time.sleep(0.05)
    assert len(desk.scheduler._backlog._fresh) == 50
    assert all(isinstance(one, Answer) for one in desk.finish())


def test_what_it_did_is_counted(desk: Desk) -> None:
    desk.until_busy()
    desk.ask("one", "two", "one two")
    _wait_until(lambda: desk.scheduler.load().queued_tokens == 10)
    assert desk.scheduler.load().queued_texts == 3
    desk.finish()
    load = desk.scheduler.load()
    assert (load.batches, load.texts, load.tokens, load.slots) == (2, 4, 13, 64)
    assert (load.queued_texts, load.queued_tokens) == (0, 0)


def test_several_runners_share_what_waits(tmp_path: Path) -> None:
    save_tokenizer({word: n for n, word in enumerate([*SPECIAL, *WORDS])}, tmp_path)
    tokens = Tokens(tmp_path, {"pad_token_id": 0}, LONGEST)
    engines = [Naming(), Naming()]
    desk = Desk(engines[0], Scheduler(engines, tokens, ClassReader(WORDS)))
    for _ in range(2):
        desk.until_busy()
    desk.ask("one")
    engines[1].free.set()
    # One is held up; the other goes on alone.
    _wait_until(lambda: sum(map(len, desk.replies.values())) == 2)
    assert [len(one.batches) for one in engines] in ([0, 2], [2, 0])
    desk.finish()


def test_a_text_without_a_token_is_refused_and_hurts_nobody(tmp_path: Path) -> None:
    vocabulary = {SPECIAL[1]: 0, SPECIAL[0]: 1, "a": 2}
    bare = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[1]))
    bare.normalizer = normalizers.BertNormalizer()
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bare.save(str(tmp_path / "tokenizer.json"))
    engine = Naming()
    tokens = Tokens(tmp_path, {"pad_token_id": 1}, LONGEST)
    desk = Desk(engine, Scheduler([engine], tokens, ClassReader(WORDS)))
    engine.free.set()
    desk.ask("\u0000\u200b")
    _wait_until(lambda: bool(desk.replies[1]))
    desk.ask("a")
    bad, good = desk.finish()
    assert isinstance(bad, Problem) and bad.kind == Kind.INVALID
    assert bad.message == "Text 0 has no token that the model could read."
    assert isinstance(good, Answer)


def test_a_runner_survives_what_fails_beside_the_engine(desk: Desk) -> None:
    desk.engine.free.set()

    class Spoilt(Pace):
        def learn(self, tokens: int, seconds: float) -> None:
            raise ZeroDivisionError(tokens, seconds)

    desk.scheduler._backlog._pace = Spoilt()
    for _ in range(2):
        desk.ask("two")
        _wait_until(lambda: bool(desk.replies[desk.last]))
        _wait_until(lambda: not any(desk.scheduler._since))
    assert desk.scheduler.alive
    desk.finish()


@pytest.mark.parametrize("runners", [1, 2, 4])
def test_every_runner_ends_with_the_last_text(tmp_path: Path, runners: int) -> None:
    save_tokenizer({word: n for n, word in enumerate([*SPECIAL, *WORDS])}, tmp_path)

    class Slow(Tokens):
        def items(self, texts: Sequence[str], *, spans: bool) -> list[Item]:
            time.sleep(0.2)
            return super().items(texts, spans=spans)

    engines = [Naming() for _ in range(runners)]
    for engine in engines:
        engine.free.set()
    tokens = Slow(tmp_path, {"pad_token_id": 0}, LONGEST)
    desk = Desk(engines[0], Scheduler(engines, tokens, ClassReader(WORDS)))
    _wait_until(lambda: desk.scheduler._backlog._idle == runners)
    desk.ask("one")
    began = time.monotonic()
    desk.finish()
    assert time.monotonic() - began < 5
    assert not any(thread.is_alive() for thread in desk.scheduler._threads)


def test_what_is_counted_is_what_was_removed() -> None:
    """Another thread may drop a job while the texts that wait are looked through."""

    class Racing(Job):
        """It is dropped between the second look and the third."""

        looks = 0

        def __getattribute__(self, name: str) -> Any:
            if name != "dropped":
                return super().__getattribute__(name)
            Racing.looks += 1
            return Racing.looks > 2

    backlog = Backlog(Padded(longest=LONGEST), Limits(), 1)
    late = Job(id=1, texts=["a"], deadline=0.0, answer=print)
    racing = Racing(id=2, texts=["a"], deadline=time.monotonic() + 60, answer=print)
    for job in (late, racing):
        backlog.put(job)
        backlog.fetch()
        backlog.add(job, [Text(job=job, place=0, item=Item([1]), tokens=1)])
    taken = backlog.take()
    assert taken is not None
    waiting = len(backlog._waiting)
    assert (backlog.texts, backlog.tokens) == (waiting, waiting)


def test_a_quiet_hour_is_not_taken_for_a_slow_engine() -> None:
    """A call takes 4 ms, and a token 0.04 ms more."""
    backlog = Backlog(Packed(rows=(16, 32, 64, 128, 256)), Limits(), 1)
    for number in range(50):
        size = 6 + number % 3
        backlog.learn(size, 0.004 + size * 0.00004)
    for number in range(200):
        texts = ["x" * 160]
        job = Job(id=number, texts=texts, deadline=time.monotonic() + 1, answer=print)
        assert backlog.put(job) is None
    tokens = 200 * 42 * (0.004 / FULL_ROW + 0.00004)
    assert backlog._wait(time.monotonic()) == pytest.approx(tokens, rel=0.01)


def test_the_batch_under_way_and_a_margin_are_counted_before_a_deadline_is_accepted() -> None:
    """A full row takes 1 s. One is under way and one waits: a third would come after 3 s."""
    backlog = Backlog(Packed(rows=(FULL_ROW,)), Limits(), 1)
    for _ in range(9):
        backlog.learn(FULL_ROW, 1.0)

    def put(number: int, seconds: float) -> Problem | None:
        due = time.monotonic() + seconds
        return backlog.put(Job(id=number, texts=["x" * 504], deadline=due, answer=print))

    assert put(1, 0.5) is None, "who finds nothing waiting is always taken"
    job = backlog.fetch()
    assert job is not None
    backlog.add(job, [Text(job=job, place=0, item=Item([1]), tokens=job.tokens)])
    assert (taken := backlog.take()) and len(taken.batch) == 1
    assert put(2, 0.1) is None
    refused = put(3, 3.6)
    assert refused is not None and refused.wait_seconds == pytest.approx(2, abs=0.1)
    assert refused.predicted
    assert put(4, 4.8) is None


def test_a_batch_that_stalled_once_is_no_pace_but_one_that_lasts_is() -> None:
    pace = Pace()
    pace.learn(100, 0.1)
    pace.learn(100, 60.0)
    assert pace.seconds(1, 100) < 0.4
    for _ in range(20):
        pace.learn(100, 1.0)
    assert pace.seconds(1, 100) == pytest.approx(1.0, rel=0.2)


def test_the_pace_never_asks_for_less_than_nothing() -> None:
    pace = Pace()
    assert pace.seconds(3, 100) == 0
    pace.learn(0, 0.0)
    pace.learn(10, 0.5)
    pace.learn(100, 0.1)
    assert pace.seconds(0, 100) == 0 < pace.seconds(1, 100) < 0.5


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)
