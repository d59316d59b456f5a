"""Who is computed next: oldest first, of like length, no timer, no unbounded queue.

Whenever the engine is free, it takes what waits. The oldest request is always among it; others
join while they keep the padded batch within its budget. What has expired or was cancelled is
dropped before it costs anything.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from serving.replica.engines import Engine, Logits, Tokens, finite, softmax
from serving.replica.wire import Answer, Kind, Problem

MOST_TEXTS = 32
"""Texts in one batch."""

STUCK_SECONDS = 20.0
"""A batch that takes longer than this has hung the engine."""

MOST_TOKENS = 4_096
"""Padded tokens in one batch; one text may have more."""


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
    ids: list[list[int]] = field(default_factory=list)
    cancelled: bool = False

    @property
    def longest(self) -> int:
        """Tokens of its longest text."""
        return max(map(len, self.ids))


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
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._queued = 0
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
        """Take a job, or say at once why not."""
        with self._changed:
            if self._stopped:
                return Problem(id=job.id, kind=Kind.NOT_READY, message="The replica is stopping.")
            if self._queued + len(job.texts) > self._limit:
                said = f"{self._queued} texts wait already, of {self._limit} at most."
                return Problem(id=job.id, kind=Kind.OVERLOADED, message=said)
            self._waiting.append(job)
            self._queued += len(job.texts)
            self._changed.notify()
        return None

    def drain(self, seconds: float) -> None:
        """Take nothing more, finish what is here, for at most so long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            while (self._waiting or self._busy) and time.monotonic() < deadline:
                self._changed.wait(0.1)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if not self._waiting:
                    return
                fresh = [job for job in self._waiting if not job.ids]
                self._busy, self._busy_since = True, time.monotonic()
            self._tokenize(fresh)
            batch = self._take()
            if batch:
                self._compute(batch)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _tokenize(self, jobs: Sequence[Job]) -> None:
        """Count tokens; refuse, and never cut, what is longer than the model may take."""
        for job in jobs:
            try:
                job.ids = self._tokens.encode(job.texts)
            except Exception as error:  # the library raises plain exceptions
                self._refuse(job, Kind.INVALID, f"A text cannot be tokenised: {error}.")
                continue
            job.tokenized = time.monotonic()
            if job.longest > self._tokens.longest:
                said = f"A text has {job.longest} tokens, of {self._tokens.longest} at most."
                self._refuse(job, Kind.TOO_LONG, said)

    def _refuse(self, job: Job, kind: Kind, message: str) -> None:
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._queued -= len(job.texts)
        job.answer(Problem(id=job.id, kind=kind, message=message))

    def _take(self) -> list[Job]:
        now = time.monotonic()
        with self._changed:
            gone = [job for job in self._waiting if job.cancelled or job.deadline <= now]
        for job in gone:
            self._refuse(job, Kind.EXPIRED, "Its deadline passed before it was computed.")
        with self._changed:
            ready = [job for job in self._waiting if job.ids]
            batch = _fit(ready)
            for job in batch:
                self._waiting.remove(job)
                self._queued -= len(job.texts)
        return batch

    def _compute(self, batch: Sequence[Job]) -> None:
        started = time.monotonic()
        ids = [tokens for job in batch for tokens in job.ids]
        try:
            logits = finite(self._engine.predict(self._tokens.pad(ids)))
        except Exception as error:  # whatever an engine raises, only the poison item may fail
            if len(batch) == 1:
                said = f"The engine failed: {error}."
                batch[0].answer(Problem(id=batch[0].id, kind=Kind.INTERNAL, message=said))
                return
            half = len(batch) // 2
            self._compute(batch[:half])
            self._compute(batch[half:])
            return
        self._answer(batch, softmax(logits), started)

    def _answer(self, batch: Sequence[Job], scores: Logits, started: float) -> None:
        compute_ms = (time.monotonic() - started) * 1e3
        row = 0
        for job in batch:
            mine = scores[row : row + len(job.ids)]
            row += len(job.ids)
            job.answer(
                Answer(
                    id=job.id,
                    labels=[self._labels[best] for best in mine.argmax(axis=1).tolist()],
                    scores=mine.tolist(),
                    tokens=sum(map(len, job.ids)),
                    queue_ms=(started - job.arrived) * 1e3,
                    tokenize_ms=max(0.0, job.tokenized - job.arrived) * 1e3,
                    compute_ms=compute_ms,
                )
            )


def _fit(jobs: Sequence[Job]) -> list[Job]:
    """Choose a batch: the oldest, and those of like length that fit beside it."""
    if not jobs:
        return []
    oldest, *others = jobs
    batch, texts, longest = [oldest], len(oldest.ids), oldest.longest
    for job in sorted(others, key=lambda one: abs(one.longest - oldest.longest)):
        widest = max(longest, job.longest)
        count = texts + len(job.ids)
        if count <= MOST_TEXTS and count * widest <= MOST_TOKENS:
            batch.append(job)
            texts, longest = count, widest
    return batch
