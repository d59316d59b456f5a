"""Threads that tokenise and compute what waits: no timer, nothing held back.

    submit → tokenizer → runners → hand → answer

One thread tokenises ahead of the engines, so far and no further; a runner that has nothing else to
do tokenises for itself. Whenever a runner's engine is
free, it takes what waits, as `choosing` says, text by text: the texts of one request may go in
several batches. What has expired or was cancelled is dropped before it costs anything.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from serving.replica.answers import Reader
from serving.replica.backlog import Backlog, Limits, Taken
from serving.replica.engines import Engine, Outputs, Tokens, finite
from serving.replica.engines.tokens import Item
from serving.replica.jobs import Job, Text
from serving.replica.messages import Answer, Kind, Load, Problem

STUCK_SECONDS = 20.0
"""A batch that takes longer than this has hung the engine."""

LATE = "Its deadline passed before it was computed."


class Unfit(Exception):
    """A request that the model cannot take."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Scheduler:
    """A thread that tokenises, and one for each engine that computes.

    Args:
        engines: a loaded model, and its twins.
        tokens: its tokenizer.
        reader: what makes answers of numbers.
        limits: what may wait.
        hand: runs what it is given, one after the other, wherever answers are to be made.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        tokens: Tokens,
        reader: Reader[Any],
        *,
        limits: Limits = Limits(),  # noqa: B008, it is frozen
        hand: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        self._tokens = tokens
        self._reader = reader
        self._hand = hand
        self._backlog = Backlog(tokens.layout, limits, len(engines))
        self._since = [0.0] * len(engines)
        """When each runner began its batch; 0 where it has none."""

        self._counted = [Load()] * len(engines)
        """What each runner has done; each writes its own."""

        self._threads = [threading.Thread(target=self._tokenize_all, name="tokenize", daemon=True)]
        self._threads += (
            threading.Thread(target=self._run, args=one, name=f"compute-{one[0]}", daemon=True)
            for one in enumerate(engines)
        )
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether every thread runs, and none is stuck in a batch."""
        now = time.monotonic()
        stuck = any(since and now - since > STUCK_SECONDS for since in self._since)
        return all(thread.is_alive() for thread in self._threads) and not stuck

    @property
    def queued(self) -> int:
        """Texts that wait."""
        return self._backlog.texts

    def load(self) -> Load:
        """Say what it has done and what waits; nothing of memory and processor."""
        return Load(
            batches=sum(one.batches for one in self._counted),
            texts=sum(one.texts for one in self._counted),
            tokens=sum(one.tokens for one in self._counted),
            slots=sum(one.slots for one in self._counted),
            queued_texts=self._backlog.texts,
            queued_tokens=self._backlog.tokens,
        )

    def submit(self, job: Job) -> Problem | None:
        """Take a job, or say at once why not; where too much waits, with how long it will take."""
        return self._backlog.put(job)

    def drain(self, seconds: float) -> None:
        """Take nothing more, finish what is here, for at most so long."""
        deadline = time.monotonic() + seconds
        self._backlog.close()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _tokenize_all(self) -> None:
        while job := self._backlog.fetch():
            self._tokenize(job)

    def _tokenize(self, job: Job) -> None:
        try:
            items = self._items(job)
        except Unfit as error:
            self._backlog.drop(job)
            self._refuse(job, error.kind, str(error))
            return
        except Exception as error:  # a thread that ends would take the replica with it
            self._backlog.drop(job)
            self._refuse(job, Kind.INTERNAL, f"The request cannot be prepared: {error!r}.")
            return
        job.tokenized = time.monotonic()
        texts = [
            Text(job=job, place=place, item=item, tokens=len(item.ids))
            for place, item in enumerate(items)
        ]
        self._backlog.add(job, texts)

    def _items(self, job: Job) -> list[Item]:
        """Count tokens; refuse, and never cut, what is longer than the model may take."""
        if job.is_over(time.monotonic()):
            raise Unfit(Kind.EXPIRED, LATE)
        spans = self._reader.spans
        try:
            if job.texts:
                items = self._tokens.items(job.texts, spans=spans)
            else:
                items = self._tokens.given(job.ids, spans=spans)
        except Exception as error:  # the library raises plain exceptions
            what = "A text cannot be tokenised" if job.texts else "The token ids cannot be taken"
            raise Unfit(Kind.INVALID, f"{what}: {str(error)!r}.") from error
        if none := [place for place, item in enumerate(items) if not item.ids]:
            raise Unfit(Kind.INVALID, f"Text {none[0]} has no token that the model could read.")
        longest = max(len(item.ids) for item in items)
        if longest > self._tokens.longest:
            said = f"A text has {longest} tokens, of {self._tokens.longest} at most."
            raise Unfit(Kind.TOO_LONG, said)
        return items

    def _run(self, number: int, engine: Engine) -> None:
        while taken := self._backlog.take(number):
            try:
                self._do(number, engine, taken)
            except Exception as error:  # a thread that ends would take the replica with it
                for text in taken.batch:
                    self._refuse(text.job, Kind.INTERNAL, f"The batch failed: {error!r}.")
            finally:
                self._since[number] = 0.0

    def _do(self, number: int, engine: Engine, taken: Taken) -> None:
        if taken.job:
            self._tokenize(taken.job)
        for job in taken.over:
            self._refuse(job, Kind.EXPIRED, LATE)
        if batch := taken.batch:
            started = self._since[number] = time.monotonic()
            self._compute(number, engine, batch, started)

    def _compute(self, number: int, engine: Engine, batch: Sequence[Text], started: float) -> None:
        """Compute a batch; where it fails, halve it until only the poison has failed."""
        ids = [text.item.ids for text in batch]
        for text in batch:
            text.job.started = text.job.started or started
        try:
            inputs = self._tokens.lay(ids)
            began = time.monotonic()
            found = engine.predict(inputs)
            took = time.monotonic() - began
            shares = [finite(share) for share in self._tokens.shares(ids, found)]
        except Exception as error:  # whatever an engine raises, only the poison item may fail
            if len(batch) == 1:
                self._refuse(batch[0].job, Kind.INTERNAL, f"The engine failed: {str(error)!r}.")
                return
            half = len(batch) // 2
            self._compute(number, engine, batch[:half], started)
            self._compute(number, engine, batch[half:], started)
            return
        # Only what was computed in one go: a batch that failed and was halved is no pace.
        self._backlog.learn(sum(map(len, ids)), took)
        before = self._counted[number]
        self._counted[number] = Load(
            batches=before.batches + 1,
            texts=before.texts + len(batch),
            tokens=before.tokens + sum(map(len, ids)),
            slots=before.slots + inputs["input_ids"].size,
        )
        self._hand(partial(self._tell, batch, shares, time.monotonic()))

    def _tell(self, batch: Sequence[Text], shares: Sequence[Outputs], computed: float) -> None:
        """Answer the jobs of which this was the last."""
        try:
            parts = self._reader.read([text.item for text in batch], shares)
        except Exception as error:  # numbers that nobody foresaw must not leave a client waiting
            for text in batch:
                said = f"The answer cannot be read: {str(error)!r}."
                text.job.settle(Problem(id=text.job.id, kind=Kind.INTERNAL, message=said))
            return
        for text, part in zip(batch, parts, strict=True):
            job = text.job
            job.parts[text.place] = part
            if len(job.parts) == job.items and not job.done:
                job.settle(self._answer(job, computed))

    def _answer(self, job: Job, computed: float) -> Answer:
        return Answer(
            id=job.id,
            found=self._reader.gather([job.parts[place] for place in range(job.items)]),
            tokens=job.tokens,
            queue_ms=(job.started - job.arrived) * 1e3,
            tokenize_ms=max(0.0, job.tokenized - job.arrived) * 1e3,
            compute_ms=(computed - job.started) * 1e3,
        )

    def _refuse(self, job: Job, kind: Kind, message: str) -> None:
        """Answer with a problem; nothing more of it is computed."""
        job.dropped = True
        self._hand(partial(job.settle, Problem(id=job.id, kind=kind, message=message)))
