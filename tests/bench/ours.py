"""Our own tier as it is measured: a real gateway on one core, real replicas on another."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from infra.processes import Process, start
from infra.settings import inherited
from release.routes import Route
from release.variants import Variant
from tests.bench.artefacts import NULL, Artefacts
from tests.bench.asking import Target
from tests.bench.cores import ENGINE, FRONT, ONE_THREAD, on
from tests.bench.peer import http_post
from tests.serving.tier import Tier


class Ours(Tier):
    """A tier whose processes keep to their cores."""

    def replica(self, variant: Variant, *cores: int) -> Process:
        """Start a replica, or the one that computes nothing; on the core of engines if no other."""
        with on(*cores or (ENGINE,)):
            return self._null() if variant == NULL else super().replica(variant)

    def _null(self) -> Process:
        named = ["--digest", NULL.digest, "--socket", str(self.sockets / NULL.digest[-12:])]
        command = [sys.executable, "-m", "tests.bench.null_replica", *named]
        log = self.folder / "replica.log"
        process = start("replica", command, env=inherited(**ONE_THREAD), log=log)
        self.replicas[NULL.digest] = process
        self.processes.append(process)
        return process

    def start_gateway(self) -> None:
        """Start the gateway on its core."""
        with on(FRONT):
            super().start_gateway()

    def target(self, variant: Variant, texts: Sequence[str], *headers: str) -> Target:
        """Make requests, a text each, for the endpoint of a variant."""
        if self.listening is None:
            raise RuntimeError("the gateway is not up yet")
        path = f"/predict/{variant.model}"
        return Target(
            port=self.listening.getsockname()[1],
            requests=[http_post(path, {"text": text}, headers) for text in texts],
        )

    def gateway_bytes(self) -> int:
        """Resident memory of the gateway."""
        if self.gateway is None:
            raise RuntimeError("the gateway is not up yet")
        return int(psutil.Process(self.gateway.pid).memory_info().rss)


@contextmanager
def ours(made: Artefacts, *variants: Variant) -> Iterator[Ours]:
    """Serve variants, each on the endpoint of its model, while the body runs."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        tier = Ours(folder=Path(folder), locate=made.folder)
        try:
            for variant in variants:
                tier.replica(variant)
            tier.serve(*(Route(endpoint=one.model, generation=1, stable=one) for one in variants))
            tier.warm(*variants)
            yield tier
        finally:
            tier.stop()
