"""A client in the background: real sentences at a steady rate, every answer written down.

Open loop: a request is sent when it is due, whether or not the ones before it were answered, so
that a slow server cannot hide by slowing its client.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from release.errors import Invalid

CALLERS = 400
"""Different callers that the requests come from, where a gateway is open to all."""


Keep = Callable[[dict[str, Any]], object]
"""Takes what is known of one request once it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One endpoint and the texts that it is asked about."""

    endpoint: str
    texts: tuple[str, ...]
    rate: float
    """Requests a second."""


def read_stream(spec: str) -> Stream:
    """Read `endpoint=file.jsonl@rate`."""
    endpoint, _, rest = spec.partition("=")
    path, _, rate = rest.rpartition("@")
    return Stream(endpoint=endpoint, texts=read_texts(Path(path)), rate=float(rate))


def read_texts(path: Path) -> tuple[str, ...]:
    """Read the texts of a JSON Lines file.

    Raises:
        Invalid: it holds none, or is something else.
    """
    hint = 'each line is {"text": "…"}'
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        texts = tuple(str(json.loads(line)["text"]) for line in lines if line.strip())
    except OSError as error:
        raise Invalid(f"No texts can be read at {path}: {error.strerror}.", hint) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Invalid(f"{path} holds no texts to send: {error!r}.", hint) from error
    if not texts:
        raise Invalid(f"{path} holds no texts to send.")
    return texts


async def run(
    url: str, streams: list[Stream], keep: Keep, stop: asyncio.Event, proof: str = ""
) -> None:
    """Send until told to stop, then wait for what is in flight."""
    headers = {"authorization": f"Bearer {proof}"} if proof else {}
    # aiohttp, because httpx spends a core on its pool once some hundred requests wait in it.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(
        url, connector=connector, timeout=timeout, headers=headers
    ) as client:
        await asyncio.gather(*(_send(client, stream, keep, stop) for stream in streams))


async def _send(
    client: aiohttp.ClientSession, stream: Stream, keep: Keep, stop: asyncio.Event
) -> None:
    under_way: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    for text, key in _questions(stream):
        due += 1 / stream.rate
        if (pause := due - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if stop.is_set():
            break
        task = asyncio.create_task(_ask(client, stream.endpoint, text, key, keep))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way)


def _questions(stream: Stream) -> Iterator[tuple[str, str]]:
    chance = random.Random(stream.endpoint)  # noqa: S311 - traffic, no secret
    while True:
        yield chance.choice(stream.texts), f"caller-{chance.randrange(CALLERS)}"


async def _ask(
    client: aiohttp.ClientSession, endpoint: str, text: str, key: str, keep: Keep
) -> None:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    sent, started = time.time(), time.perf_counter()
    record: dict[str, Any] = {"endpoint": endpoint, "sent": sent, "key": key, "text": hash(text)}
    try:
        path = f"/v2/models/{endpoint}/infer"
        async with client.post(path, json=body, headers={"x-slipway-key": key}) as answer:
            record["status"] = answer.status
            record["version"] = int(answer.headers.get("x-slipway-version", 0))
            record["rescued"] = "x-slipway-rescued" in answer.headers
            if answer.ok:
                outputs = {one["name"]: one["data"] for one in (await answer.json())["outputs"]}
                record["label"] = outputs["label"][0]
            else:
                record["error"] = (await answer.text())[:300]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, IndexError) as error:
        record["status"], record["error"] = 0, repr(error)
    record["ms"] = (time.perf_counter() - started) * 1e3
    keep(record)


async def until_told(
    url: str, streams: list[Stream], keep: Keep, *, seconds: float = 0.0, proof: str = ""
) -> None:
    """Send until SIGTERM or SIGINT, or for so many seconds where there are any."""
    stop = asyncio.Event()
    if seconds:
        asyncio.get_running_loop().call_later(seconds, stop.set)
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, stop.set)
    await run(url, streams, keep, stop, proof)


def main() -> int:
    """Run as a process of its own until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("streams", nargs="+", type=read_stream, help="endpoint=file.jsonl@rate")
    parser.add_argument("--key", type=Path, help="file of the key to call with")
    given = parser.parse_args()
    proof = given.key.read_text().strip() if given.key else ""
    with given.out.open("w", buffering=1, encoding="utf-8") as out:
        asyncio.run(
            until_told(
                given.url,
                given.streams,
                lambda record: out.write(json.dumps(record) + "\n"),
                proof=proof,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
