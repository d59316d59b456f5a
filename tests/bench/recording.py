"""What one call's line costs by itself, in this process: `python -m tests.bench.recording`."""

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from infra.calls.lines import Share
from infra.calls.vault import Vault
from release.callers import Capture, Recording
from release.routes import Route
from serving.gateway.dispatch import Call
from serving.gateway.recording import CallRecorder, everywhere
from serving.journal import JournalWriter
from serving.keeping import Keeper
from serving.replica.messages import Answer, Classes
from tests.bench.artefacts import NULL
from tests.bench.calls import TEXTS

CALLS, ROUNDS = 5_000, 7


def microseconds(capture: Capture) -> float:
    """Give the median time of one line."""
    with TemporaryDirectory(prefix="slipway-bench-") as name:
        folder = Path(name)
        keeper = Keeper(JournalWriter(folder / "journal", "bench/g1"))
        policy = everywhere(Recording(capture=capture))
        vault = Vault(folder / "secrets")
        # The first call of a day waits for its key.
        vault.begin("default", time.time())
        recorder = CallRecorder(keeper, vault, policy)
        found = Classes(labels=["alpha"], scores=[[0.75, 0.25]])
        answer = Answer(id=1, found=found, tokens=8, queue_ms=0.1, tokenize_ms=0.1, compute_ms=1.0)
        route = Route(endpoint=NULL.model, generation=1, stable=NULL)
        counted = (Share(digest=NULL.digest, requests=1),)
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for number in range(CALLS):
                text = TEXTS[number % len(TEXTS)]
                call = Call(id="0" * 32, key="k", texts=[text], protocol="predict")
                recorder.note(
                    call, route, NULL, answer, counted=counted, why="", started=started, until=0.0
                )
            times.append((time.perf_counter() - started) / CALLS * 1e6)
        return median(times)


if __name__ == "__main__":
    for capture in Capture:
        print(f"{capture}: {microseconds(capture):.1f} µs a call")  # noqa: T201
