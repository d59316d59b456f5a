"""Open-loop load in a process of its own: `python -m tests.faults.load URL OUT --rate 40`.

It sends when the clock says so, whatever became of the requests before, and writes a line a
request. Moments are of the monotonic clock, which all processes of a machine share.
"""

import argparse
import asyncio
import json
import random
import signal
import time
from pathlib import Path
from typing import Any, TextIO

import aiohttp

WORDS = ("alpha", "beta", "gamma")


async def ask(session: aiohttp.ClientSession, number: int, given: argparse.Namespace) -> Any:
    """Send one request; again after a broken connection where that is allowed."""
    word = WORDS[number % 3]
    record: dict[str, Any] = {"sent": time.monotonic(), "word": word, "retries": 0}
    headers = {"x-slipway-key": f"caller-{number % 500}"}
    if given.deadline_ms:
        headers["x-slipway-deadline-ms"] = str(given.deadline_ms)
    texts = [f"the number {n} is about {word}" for n in range(given.texts)]
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    while True:
        try:
            await once(session, {"inputs": [tensor]}, headers, record)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError)
            record["status"], record["error"] = (-1 if refused else 0), repr(error)
            if not refused and record["retries"] < given.retries:
                record["retries"] += 1
                continue
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            record["status"], record["error"] = 0, repr(error)
        record["done"] = time.monotonic()
        return record


async def once(
    session: aiohttp.ClientSession, body: Any, headers: dict[str, str], record: dict[str, Any]
) -> None:
    async with session.post("/v2/models/tiny/infer", json=body, headers=headers) as answer:
        record["status"] = answer.status
        found = await answer.json()
        record["version"] = int(answer.headers.get("x-slipway-version", 0))
        record["generation"] = int(answer.headers.get("x-slipway-generation", -1))
        record["rescued"] = "x-slipway-rescued" in answer.headers
        if answer.ok:
            outputs = {one["name"]: one["data"] for one in found["outputs"]}
            record["labels"] = sorted(set(outputs["label"]))
        else:
            record["error"] = found.get("error", "")[:200]


async def run(given: argparse.Namespace, out: TextIO) -> None:
    """Send until SIGTERM, then wait for what is open."""
    stop = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, stop.set)
    limits = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=given.timeout)
    gaps = random.Random(7)
    open_: set[asyncio.Task[Any]] = set()

    def written(task: "asyncio.Task[Any]") -> None:
        open_.discard(task)
        out.write(json.dumps(task.result()) + "\n")

    async with aiohttp.ClientSession(given.url, connector=limits, timeout=timeout) as session:
        due, number = time.monotonic(), 0
        while not stop.is_set():
            task = asyncio.create_task(ask(session, number, given))
            open_.add(task)
            task.add_done_callback(written)
            number += 1
            due += gaps.expovariate(given.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        while open_:
            await asyncio.wait(open_)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--texts", type=int, default=1)
    parser.add_argument("--retries", type=int, default=0, help="after a connection that broke")
    parser.add_argument("--timeout", type=float, default=15)
    parser.add_argument("--deadline-ms", type=int, default=0)
    given = parser.parse_args()
    with given.out.open("w", buffering=1, encoding="utf-8") as out:
        asyncio.run(run(given, out))


if __name__ == "__main__":
    main()
