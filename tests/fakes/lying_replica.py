"""A replica out of its mind, as a process: `python -m tests.fakes.lying_replica ADDRESS DIGEST`.

It says that it is ready, and answers each question with another lie.
"""

import asyncio
import sys

from serving.replica.address import Address
from tests.fakes.wire_replica import LIES, WireReplica


class LyingReplica(WireReplica):
    def _heard(self, body: bytes) -> None:
        lies = list(LIES)
        self.lies = lies[len(self.asked) % len(lies)]
        super()._heard(body)


async def serve(address: str, digest: str, labels: list[str]) -> None:
    heard: list[list[str]] = []

    def make() -> asyncio.Protocol:
        made = LyingReplica(digest, labels=labels)
        made.asked = heard
        return made.frames

    async with await Address.parse(address).listen(make) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3:]))
