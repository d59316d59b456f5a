"""What waits, on its way from clients to runners: counted, bounded, in the order of arrival.

    put → fetch → add or drop → take

One lock guards it all. Whoever waits is told when it is closed and nothing is left.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from serving.replica.choosing import Layout, choose, passed_over
from serving.replica.jobs import Job, Text
from serving.replica.messages import Kind, Problem
from serving.replica.pace import Pace

WINDOW = 256
"""How many of the oldest texts a batch is chosen from, and how many are tokenised ahead."""

TRUSTED = 0.7
"""Part of the time left that a prediction may fill: who would come later is refused at once, since
an answer after its deadline costs as much as one before it and is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may wait; more is refused at once."""

    texts: int = 1_024
    tokens: int = 131_072
    """A request that finds nothing waiting may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a runner has to do."""

    batch: Sequence[Text] = ()
    """To be computed, in the order of arrival."""

    over: Sequence[Job] = ()
    """Whose time is over."""

    job: Job | None = None
    """To be tokenised, since nothing else is to be done: see `fetch`."""


class Backlog:
    """Jobs that wait to be tokenised, and texts that wait to be computed.

    Args:
        layout: of a batch.
        limits: what may wait.
        runners: how many compute at the same time.
    """

    def __init__(self, layout: Layout, limits: Limits, runners: int) -> None:
        self._layout = layout
        self._limits = limits
        self._runners = runners
        lock = threading.Lock()
        self._lock = lock
        self._to_tokenize = threading.Condition(lock)
        self._to_compute = threading.Condition(lock)
        self._fresh: deque[Job] = deque()
        self._waiting: list[Text] = []
        """The oldest first."""

        self._between = 0
        """Jobs that are being tokenised."""

        self._idle = 0
        """Runners that have nothing to do."""

        self._free_at = [0.0] * runners
        """When each runner will have done its batch, as far as can be told."""

        self._closed = False
        self._pace = Pace()

        self.texts = 0
        """That wait."""

        self.tokens = 0
        """Of these; estimated as long as they are not tokenised."""

    def put(self, job: Job) -> Problem | None:
        """Take a job, or say at once why not; where too much waits, with how long it will take."""
        with self._lock:
            if self._closed:
                return Problem(id=job.id, kind=Kind.NOT_READY, message="The replica is stopping.")
            if refused := self._too_much(job):
                return refused
            self._fresh.append(job)
            self._count(job.items, job.tokens)
            # Whoever has nothing to do tokenises by itself, which saves a turn of threads.
            (self._to_compute if self._idle else self._to_tokenize).notify()
        return None

    def _too_much(self, job: Job) -> Problem | None:
        now = time.monotonic()
        most, wait = self._limits, self._wait(now)
        many = self.texts + job.items > most.texts
        large = self.tokens + job.tokens > most.tokens
        late = 0 < TRUSTED * (job.deadline - now) < wait + self._own(job)
        if not many and not (self.texts and (large or late)):
            return None
        said = (
            f"{self.texts} texts of {self.tokens} tokens wait already, of {most.texts} and "
            f"{most.tokens} at most; they take about {wait:.1f} s."
        )
        return Problem(
            id=job.id,
            kind=Kind.OVERLOADED,
            message=said,
            wait_seconds=wait,
            predicted=not (many or large),
        )

    def _wait(self, now: float) -> float:
        """Say in how many seconds all that is here is computed, as far as can be told."""
        under_way = sum(max(0.0, free_at - now) for free_at in self._free_at)
        return (under_way + self._seconds(self.texts, self.tokens)) / self._runners

    def _own(self, job: Job) -> float:
        """Say in how many seconds a job itself is computed: its texts go to all runners."""
        calls = max(1.0, self._layout.calls(job.items, job.tokens))
        return self._pace.seconds(calls, job.tokens) / min(self._runners, calls)

    def _seconds(self, texts: int, tokens: int) -> float:
        return self._pace.seconds(self._layout.calls(texts, tokens), tokens)

    def _count(self, texts: int, tokens: int) -> None:
        self.texts += texts
        self.tokens += tokens

    def fetch(self) -> Job | None:
        """Wait for a job to tokenise, and for room ahead of the runners; None once it is over.

        Whoever took one gives it back, to `add` or to `drop`, before the next.
        """
        with self._lock:
            while not self._fresh or len(self._waiting) >= WINDOW:
                if self._closed and not self._fresh:
                    self._to_compute.notify_all()
                    return None
                self._to_tokenize.wait()
            return self._begin()

    def _begin(self) -> Job:
        self._between += 1
        return self._fresh.popleft()

    def add(self, job: Job, texts: Sequence[Text]) -> None:
        """Take what a job is made of, and note how many tokens it has."""
        tokens = sum(text.tokens for text in texts)
        with self._lock:
            self._between -= 1
            self._waiting += texts
            self._count(0, tokens - job.tokens)
            job.tokens = tokens
            self._to_compute.notify(len(texts))
            self._tell_if_over()
            if self._fresh:
                self._to_tokenize.notify()

    def drop(self, job: Job) -> None:
        """Forget a job that is not computed."""
        with self._lock:
            self._between -= 1
            job.dropped = True
            self._count(-job.items, -job.tokens)
            self._tell_if_over()

    def _tell_if_over(self) -> None:
        """Wake every runner where nothing more may come: each of them ends by itself."""
        if self._closed:
            self._to_compute.notify_all()

    def take(self, runner: int = 0) -> Taken | None:
        """Wait for texts, and choose; None where all is done and nothing will come.

        Args:
            runner: number of the one that will compute them.
        """
        with self._lock:
            self._free_at[runner] = 0.0
            while not self._waiting:
                if self._fresh:
                    return Taken(job=self._begin())
                if self._closed and not self._between:
                    return None
                self._idle += 1
                self._to_compute.wait()
                self._idle -= 1
            over = self._overdue()
            batch = self._choose()
            tokens = sum(text.tokens for text in batch)
            self._free_at[runner] = time.monotonic() + self._pace.seconds(1, tokens)
            if self._fresh:
                self._to_tokenize.notify()
            return Taken(batch=batch, over=over)

    def _overdue(self) -> list[Job]:
        """Drop what nobody waits for any more."""
        now = time.monotonic()
        over: list[Job] = []
        for text in self._waiting:
            if not text.job.dropped and text.job.is_over(now):
                text.job.dropped = True
                over.append(text.job)
        # Another thread may drop a job at any time: each text is asked once.
        stay: list[Text] = []
        texts = tokens = 0
        for text in self._waiting:
            if text.job.dropped:
                texts, tokens = texts + 1, tokens + text.tokens
            else:
                stay.append(text)
        if texts:
            self._waiting = stay
            self._count(-texts, -tokens)
        return over

    def _choose(self) -> list[Text]:
        window = self._waiting[:WINDOW]
        places = choose(window, self._layout)
        for place in passed_over(len(window), places):
            window[place].passed += 1
        chosen = set(places)
        batch = [window[place] for place in places]
        stay = [text for place, text in enumerate(window) if place not in chosen]
        self._waiting[:WINDOW] = stay
        self._count(-len(batch), -sum(text.tokens for text in batch))
        return batch

    def learn(self, tokens: int, seconds: float) -> None:
        """Note how long a batch took that was computed in one go."""
        with self._lock:
            self._pace.learn(tokens, seconds)

    def close(self) -> None:
        """Take nothing more; what is here goes its way."""
        with self._lock:
            self._closed = True
            self._to_tokenize.notify_all()
            self._to_compute.notify_all()
