"""A replica that computes nothing: `python -m tests.bench.null_replica --digest D --socket S`.

It speaks the real wire and answers at once, so that what is left is what a gateway costs.
"""

import argparse
import asyncio
import os
import signal

import uvloop

from serving.replica.messages import Answer, Ask, Cancel, Classes, Infer, Status, read_question
from serving.replica.wire import Frames

LABELS = ["alpha", "beta"]
SCORES = [0.75, 0.25]


class NullReplica:
    """One connection of a gateway."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self.frames = Frames(self._heard, lambda: None)

    def _heard(self, body: bytes) -> None:
        match read_question(body):
            case Infer() as asked:
                self.frames.send(_answer(asked))
            case Ask() as asked:
                self.frames.send(self._status(asked))
            case Cancel():
                pass

    def _status(self, asked: Ask) -> Status:
        return Status(
            id=asked.id,
            digest=self._digest,
            ready=True,
            pid=os.getpid(),
            task="text-classification",
            labels=LABELS,
            longest_input=512,
        )


def _answer(asked: Infer) -> Answer:
    texts = len(asked.texts)
    found = Classes(labels=LABELS[:1] * texts, scores=[SCORES] * texts)
    return Answer(
        id=asked.id, found=found, tokens=8 * texts, queue_ms=0.0, tokenize_ms=0.0, compute_ms=0.0
    )


async def serve(digest: str, address: str) -> None:
    """Answer until SIGTERM."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = await loop.create_unix_server(lambda: NullReplica(digest).frames, address)
    await stopping.wait()
    server.close()


def main() -> None:
    """Run one replica."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digest", required=True)
    parser.add_argument("--socket", required=True)
    given = parser.parse_args()
    uvloop.run(serve(given.digest, given.socket))


if __name__ == "__main__":
    main()
