"""A replica without a model that does all that a replica must not.

As a process, `python -m tests.fakes.bad_replica ADDRESS DIGEST LABEL…`, it says that it is ready
and answers each question with another lie.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from serving.replica.address import Address
from serving.replica.messages import (
    Answer,
    Ask,
    Cancel,
    Classes,
    Found,
    Infer,
    Kind,
    Problem,
    Reply,
    Status,
    Vectors,
    read_question,
)
from tests.fakes.wire_replica import LABELS, WireReplica

NAN = float("nan")

LIES: dict[str, Callable[[Answer], object]] = {
    "noise": lambda _: b"\x05\x00\x00\x00noise",
    "too few labels": lambda answer: _with(answer, Classes(labels=[], scores=[[0.5, 0.5]])),
    "too few rows": lambda answer: _with(answer, Classes(labels=["alpha"], scores=[])),
    "short rows": lambda answer: _with(answer, Classes(labels=["alpha"], scores=[[1.0]])),
    "no number": lambda answer: _with(answer, Classes(labels=["alpha"], scores=[[0.5, NAN]])),
    "beyond one": lambda answer: _with(answer, Classes(labels=["alpha"], scores=[[7.0, 0.5]])),
    "a strange label": lambda answer: _with(answer, Classes(labels=["x"], scores=[[0.5, 0.5]])),
    "another task": lambda answer: _with(answer, Vectors(width=2, data=bytes(8))),
    "another question": lambda answer: msgspec.structs.replace(answer, id=answer.id + 1000),
    "no answer": lambda answer: Status(
        id=answer.id, digest="", ready=True, pid=1, task="", labels=[], longest_input=1
    ),
}
"""What it sends instead of an answer to one text."""


def _with(answer: Answer, found: Found) -> Answer:
    return msgspec.structs.replace(answer, found=found)


class BadReplica(WireReplica):
    """Good, until it is told otherwise.

    `lies` is what it sends instead of answers, `wait` how long it says that its queue takes. While
    it is `held` it answers nothing but how it is, while it is `hung` nothing at all; what it was
    asked meanwhile it answers when it is let go. Where it `drops`, it hangs up when it is asked.
    """

    def __init__(
        self,
        digest: str,
        fails: Kind | None = None,
        *,
        lies: str = "",
        labels: Sequence[str] = LABELS,
    ) -> None:
        super().__init__(digest, fails)
        self.lies = lies
        self.labels = list(labels)
        self.wait = 0.0
        self.hung = self.held = self.drops = False
        self.cancelled: list[int] = []
        self.kept: list[Infer | Ask] = []

    def _heard(self, body: bytes) -> None:
        question = read_question(body)
        if isinstance(question, Cancel):
            self.cancelled.append(question.id)
        elif self.hung or (self.held and isinstance(question, Infer)):
            self.kept.append(question)
        elif self.drops and isinstance(question, Infer):
            self.frames.close()
        else:
            self._say(self._reply(question))

    def let_go(self) -> None:
        self.hung = self.held = False
        kept, self.kept = self.kept, []
        for question in kept:
            if question.id not in self.cancelled:
                self._say(self._reply(question))

    def _say(self, reply: Reply) -> None:
        if isinstance(reply, Answer) and self.lies:
            lie = LIES[self.lies](reply)
            if not isinstance(lie, bytes):
                self.frames.send(cast("Reply", lie))
            elif self.frames.transport is not None:
                self.frames.transport.write(lie)
            return
        if isinstance(reply, Status):
            reply = msgspec.structs.replace(reply, labels=self.labels)
        if isinstance(reply, Problem):
            reply = msgspec.structs.replace(reply, wait_seconds=self.wait)
        self.frames.send(reply)


class Liar(BadReplica):
    """Never tells the same lie twice in a row."""

    def _heard(self, body: bytes) -> None:
        self.lies = list(LIES)[len(self.asked) % len(LIES)]
        super()._heard(body)


async def _serve(address: str, digest: str, *labels: str) -> None:
    asked: list[list[str]] = []

    def make() -> asyncio.Protocol:
        made = Liar(digest, labels=labels)
        made.asked = asked
        return made.frames

    async with await Address.parse(address).listen(make) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
