"""Release a model beside one that serves: built, started, canaried, promoted, stopped.

The building is a process of its own, `python -m tests.bench.releasing FOLDER`, that steps back as
far as flows do.
"""

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from console.supervise import FLOWS_NICE
from infra.files import tail
from infra.processes import alive, start, stop
from infra.settings import inherited
from release.routes import Route
from tests.bench.artefacts import CHOSEN, Artefacts, known
from tests.bench.cores import ALL, on
from tests.bench.ours import Ours

STEPS = (5.0, 50.0, 100.0)
STEP_SECONDS = 1.0


class Releasing:
    """A release in a thread of its own, while the body of `with` runs.

    Args:
        tier: that serves another model.
        made: what there is to release.
    """

    def __init__(self, tier: Ours, made: Artefacts) -> None:
        self._tier, self._made = tier, made
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="releasing")

    def __enter__(self) -> "Releasing":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._thread.join()
        if self._failed is not None and error is None:
            raise RuntimeError("the neighbour was not released") from self._failed

    @property
    def under_way(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._release()
        except BaseException as error:  # told in the thread that waits for it
            self._failed = error

    def _release(self) -> None:
        tier, new = self._tier, self._made.neighbour
        self._build()
        # Nothing tells the kernel where a release should compute.
        replica = tier.replica(new, *ALL)
        route = Route(endpoint=new.model, generation=1, warm=(new,))
        tier.serve(route)
        tier.warm(new)
        for generation, percent in enumerate(STEPS, start=2):
            lease = time.time() + 60
            tier.serve(
                replace(
                    route,
                    generation=generation,
                    canary=new,
                    canary_percent=percent,
                    lease_until=lease,
                )
            )
            time.sleep(STEP_SECONDS)
        tier.serve(Route(endpoint=new.model, generation=9, stable=new))
        time.sleep(STEP_SECONDS)
        del tier.routes[new.model], tier.replicas[new.digest]
        tier.serve()
        stop([replica])

    def _build(self) -> None:
        folder = self._tier.folder / "built"
        log = self._tier.folder / "build.log"
        command = [sys.executable, "-m", "tests.bench.releasing", str(folder)]
        with on(*ALL):
            builder = start("build", command, env=inherited(), log=log, nice=FLOWS_NICE)
        while alive(builder):
            time.sleep(0.1)
        if not (folder / "done").exists():
            raise RuntimeError(f"the builder failed: {' '.join(tail(log, 2))}")


def main(folder: Path) -> None:
    """Build the neighbour's variant anew."""
    from release.variants import Candidate, Recipe
    from serving.variants.build import build
    from serving.variants.store import Store
    from tests.bench.trace import trace

    candidate = Candidate(model="neighbour", version=1)
    source, store = known().source, Store(folder / "store")
    build(Recipe.parse(CHOSEN), candidate, source, trace(64, 1), store)
    (folder / "done").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
