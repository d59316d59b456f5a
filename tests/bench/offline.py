"""What no server can do: the whole trace known beforehand, in one process, on one thread.

`python -m tests.bench.offline WAY…` answers each line that names a way with a line of JSON: seconds
for the whole trace, or for `direct` those of each text. Tokenising is counted, sorting is not.

padded   sorted by length, batches of at most 2,048 padded tokens, on the graph that peers have
exact    the same with transformers on torch
packed   rows filled from the whole trace, on the graph that we serve
direct   one text after the other, on the graph that we serve
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from infra.settings import inherited
from tests.bench.artefacts import LONGEST, ROOT, Artefacts, known
from tests.bench.cores import ENGINE, ONE_THREAD, on
from tests.bench.peers.handler import STEP, Model
from tests.bench.trace import trace

BUDGET = 2_048
Work = Callable[[], object]


class Offline:
    """A process that computes on demand."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def rate(self, way: str, texts: int) -> float:
        """Answer so many texts of the trace; gives texts a second."""
        return texts / float(self._do(way, texts)[0])

    def each(self, texts: int) -> list[float]:
        """Give the seconds of each text by itself."""
        return self._do("direct", texts)

    def _do(self, way: str, texts: int) -> list[float]:
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the process has no pipes")
        self._child.stdin.write(f"{way} {texts}\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that computes {way} offline has ended")
        found: list[float] = json.loads(line)
        return found


@contextmanager
def offline(*ways: str) -> Iterator[Offline]:
    """Load what some ways need, in a process on the core of engines, while the body runs."""
    with on(ENGINE):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.offline", *ways],
            cwd=ROOT,
            env=inherited(**ONE_THREAD, PYTHONWARNINGS="ignore"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    try:
        yield Offline(child)
    finally:
        child.communicate()


def batches(lengths: Sequence[int], step: int, budget: int = BUDGET) -> list[list[int]]:
    """Divide texts, given by their tokens, into padded batches, the shortest first.

    Args:
        lengths: tokens of each.
        step: padded lengths are multiples of it.
        budget: most padded tokens of a batch that has more than one text.

    Returns:
        The places of each batch's texts.
    """
    made: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda one: lengths[one]):
        padded = -(-lengths[place] // step) * step
        if not made or padded * (len(made[-1]) + 1) > budget:
            made.append([])
        made[-1].append(place)
    return made


def _padded(model: Model, step: int, texts: Sequence[str]) -> Work:
    rows = batches([model.tokens(text) for text in texts], step)

    def work() -> None:
        for row in rows:
            model.predict([texts[place] for place in row])

    return work


class _House:
    """The engine and the layout that we serve with."""

    def __init__(self, made: Artefacts) -> None:
        from serving.replica.engines import Tokens, load
        from serving.replica.verify import verify

        folder = made.folder(made.chosen)
        manifest = verify(folder, made.chosen.digest)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._tokens = Tokens(folder, config, LONGEST, manifest.rows)
        self._engine = load(folder, manifest, 1)

    def packed(self, texts: Sequence[str]) -> Work:
        from serving.replica.choosing import Waiting, choose

        lengths = [len(ids) for ids in self._tokens.encode(texts)]
        left, rows = list(range(len(texts))), list[list[int]]()
        while left:
            waiting = [Waiting(tokens=lengths[place]) for place in left]
            places = set(choose(waiting, self._tokens.layout))
            rows.append([left[place] for place in sorted(places)])
            left = [one for place, one in enumerate(left) if place not in places]

        def work() -> None:
            ids = self._tokens.encode(texts)
            for row in rows:
                self._engine.predict(self._tokens.lay([ids[place] for place in row]))

        return work

    def one(self, text: str) -> None:
        from serving.replica.engines import softmax

        softmax(self._engine.predict(self._tokens.lay(self._tokens.encode([text]))))


def _timed(work: Work) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _ways(names: Sequence[str]) -> dict[str, Callable[[Sequence[str]], list[Work]]]:
    """Load what is named: a way to what it has to do for some texts, timed one by one."""
    made, found = known(), dict[str, Callable[[Sequence[str]], list[Work]]]()
    if "padded" in names:
        small = Model("openvino", str(made.padded))
        found["padded"] = lambda texts: [_padded(small, STEP, texts)]
    if "exact" in names:
        exact = Model("torch", str(made.source))
        found["exact"] = lambda texts: [_padded(exact, 1, texts)]
    if "packed" in names or "direct" in names:
        house = _House(made)
        found["packed"] = lambda texts: [house.packed(texts)]
        found["direct"] = lambda texts: [partial(house.one, text) for text in texts]
    return found


def main(names: Sequence[str]) -> None:
    """Answer lines such as `padded 2000` until there are no more."""
    ways, texts, ready = _ways(names), trace(), dict[str, list[Work]]()
    for line in sys.stdin:
        way, count = line.split()
        if line not in ready:
            ready[line] = ways[way](texts[: int(count)])
            for work in ready[line] if way != "exact" else ():
                work()  # openvino makes each shape at the first time
        sys.stdout.write(json.dumps([_timed(work) for work in ready[line]]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
