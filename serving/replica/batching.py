"""Who is computed next: oldest first, of like length, no timer, no unbounded queue.

Whenever the engine is free, it takes what waits, as `choosing` says, text by text: the texts of one
request may go in several batches. What has expired or was cancelled is dropped before it costs
anything.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from serving.replica.choosing import Waiting, choose, passed_over
from serving.replica.engines import Engine, Logits, Tokens, finite, softmax
from serving.replica.messages import Answer, Classes, Kind, Problem

STUCK_SECONDS = 20.0
"""A batch that takes longer than this has hung the engine."""

WINDOW = 256
"""How many of the oldest texts a batch is chosen from."""

MEMORY = 0.9
"""How much of what a text took before stays in the estimate with each batch."""


@dataclass(slots=True, kw_only=True)
class Job:
    """A request under way."""

    id: int
    texts: list[str]
    deadline: float
    """On the monotonic clock."""

    answer: Callable[[Answer | Problem], None]
    """Called once, from the compute thread."""

    arrived: float = field(default_factory=time.monotonic)
    tokenized: float = 0.0
    started: float = 0.0
    """When the first of its texts was computed."""

    cancelled: bool = False
    tokens: int = 0
    scores: dict[int, Logits] = field(default_factory=dict)
    """Place among its texts to probabilities."""

    done: bool = False
    """It was answered."""


@dataclass(slots=True, kw_only=True)
class Text:
    """One text of a request, tokenised."""

    job: Job
    place: int
    ids: list[int]
    passed: int = 0


class Scheduler:
    """One thread that tokenises and computes what waits.

    Args:
        engine: a loaded model.
        tokens: its tokenizer.
        labels: names of the logits, in order.
        limit: texts that may wait; more are refused.
    """

    def __init__(
        self, engine: Engine, tokens: Tokens, labels: Sequence[str], *, limit: int = 1_024
    ) -> None:
        self._engine = engine
        self._tokens = tokens
        self._labels = list(labels)
        self._limit = limit
        self._fresh: deque[Job] = deque()
        self._waiting: list[Text] = []
        """Only the compute thread's, the oldest first."""

        self._changed = threading.Condition()
        self._queued = 0
        self._pace = 0.0
        """Seconds that a text took of late."""

        self._busy = False
        self._busy_since = 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="compute", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the compute thread runs, and is not stuck in a batch."""
        stuck = self._busy and time.monotonic() - self._busy_since > STUCK_SECONDS
        return self._thread.is_alive() and not stuck

    @property
    def queued(self) -> int:
        """Texts that wait."""
        return self._queued

    def submit(self, job: Job) -> Problem | None:
        """Take a job, or say at once why not; where too many wait, with how long they will take."""
        with self._changed:
            if self._stopped:
                return Problem(id=job.id, kind=Kind.NOT_READY, message="The replica is stopping.")
            if self._queued + len(job.texts) > self._limit:
                return self._too_many(job)
            self._fresh.append(job)
            self._queued += len(job.texts)
            self._changed.notify()
        return None

    def _too_many(self, job: Job) -> Problem:
        wait = self._queued * self._pace
        said = (
            f"{self._queued} texts wait already, of {self._limit} at most; "
            f"they take about {wait:.1f} s."
        )
        return Problem(id=job.id, kind=Kind.OVERLOADED, message=said, wait_seconds=wait)

    def drain(self, seconds: float) -> None:
        """Take nothing more, finish what is here, for at most so long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            while (self._queued or self._busy) and time.monotonic() < deadline:
                self._changed.wait(0.1)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queued and not self._stopped:
                    self._changed.wait()
                if not self._queued:
                    return
                fresh = list(self._fresh)
                self._fresh.clear()
                self._busy, self._busy_since = True, time.monotonic()
            for job in fresh:
                self._tokenize(job)
            if batch := self._take():
                self._compute(batch)
                self._learn(len(batch))
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _tokenize(self, job: Job) -> None:
        """Count tokens; refuse, and never cut, what is longer than the model may take."""
        try:
            ids = self._tokens.encode(job.texts)
        except Exception as error:  # the library raises plain exceptions
            self._unqueue(len(job.texts))
            _refuse(job, Kind.INVALID, f"A text cannot be tokenised: {error}.")
            return
        longest = max(map(len, ids))
        if longest > self._tokens.longest:
            self._unqueue(len(job.texts))
            said = f"A text has {longest} tokens, of {self._tokens.longest} at most."
            _refuse(job, Kind.TOO_LONG, said)
            return
        job.tokenized = time.monotonic()
        job.tokens = sum(map(len, ids))
        self._waiting += (Text(job=job, place=place, ids=one) for place, one in enumerate(ids))

    def _unqueue(self, texts: int) -> None:
        with self._changed:
            self._queued -= texts

    def _take(self) -> list[Text]:
        """Drop what nobody waits for any more, and choose of the rest."""
        now, before = time.monotonic(), len(self._waiting)
        for job in [text.job for text in self._waiting]:
            if not job.done and (job.cancelled or job.deadline <= now):
                _refuse(job, Kind.EXPIRED, "Its deadline passed before it was computed.")
        self._waiting = [text for text in self._waiting if not text.job.done]
        window = [
            Waiting(tokens=len(text.ids), passed=text.passed) for text in self._waiting[:WINDOW]
        ]
        places = choose(window, self._tokens.layout)
        for place in passed_over(len(window), places):
            self._waiting[place].passed += 1
        batch = [self._waiting[place] for place in places]
        for place in reversed(places):
            del self._waiting[place]
        self._unqueue(before - len(self._waiting))
        return batch

    def _learn(self, texts: int) -> None:
        took = (time.monotonic() - self._busy_since) / texts
        self._pace = MEMORY * self._pace + (1 - MEMORY) * took if self._pace else took

    def _compute(self, batch: Sequence[Text]) -> None:
        started = time.monotonic()
        for text in batch:
            text.job.started = text.job.started or started
        try:
            logits = self._engine.predict(self._tokens.lay([text.ids for text in batch]))
            scores = softmax(finite(logits[: len(batch)]))
        except Exception as error:  # whatever an engine raises, only the poison item may fail
            if len(batch) == 1:
                _refuse(batch[0].job, Kind.INTERNAL, f"The engine failed: {error}.")
                return
            half = len(batch) // 2
            self._compute(batch[:half])
            self._compute(batch[half:])
            return
        for text, mine in zip(batch, scores, strict=True):
            text.job.scores[text.place] = mine
            if len(text.job.scores) == len(text.job.texts):
                self._answer(text.job)

    def _answer(self, job: Job) -> None:
        job.done = True
        rows = [job.scores[place] for place in range(len(job.texts))]
        job.answer(
            Answer(
                id=job.id,
                found=Classes(
                    labels=[self._labels[int(row.argmax())] for row in rows],
                    scores=[row.tolist() for row in rows],
                ),
                tokens=job.tokens,
                queue_ms=(job.started - job.arrived) * 1e3,
                tokenize_ms=max(0.0, job.tokenized - job.arrived) * 1e3,
                compute_ms=(time.monotonic() - job.started) * 1e3,
            )
        )


def _refuse(job: Job, kind: Kind, message: str) -> None:
    """Answer with a problem, once, whatever comes of its other texts."""
    if not job.done:
        job.done = True
        job.answer(Problem(id=job.id, kind=kind, message=message))
