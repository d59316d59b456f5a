"""What it costs to keep calls findable: folding them in, and finding them among a million.

The store of a million calls is built once and kept in `build/bench`, which takes some minutes.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from infra.calls.folding import Folded
from infra.calls.indexing import Indexer
from infra.calls.lines import Payload
from infra.calls.query import Query
from infra.calls.segments import Found, Place
from infra.calls.sqlite import VERSION, CallStore
from infra.calls.vault import Vault
from serving.journal import JournalWriter
from tests.bench.artefacts import ROOT, artefacts
from tests.bench.cores import FRONT, on
from tests.bench.figures import Figure
from tests.bench.load import closed
from tests.bench.ours import ours
from tests.bench.trace import TEXTS, WORDS, trace
from tests.fakes.call_lines import a_call

CALLS = 1_000_000
FOLDED = 20_000
BATCH = 5_000
ASKED = 40
"""Searches for each kind of term."""

CHINESE = ["订单", "发票", "退款", "数据", "模型", "物流", "密码", "登录", "页面", "错误"]
RARE = "罕见"
"""A word of two characters in one of ten thousand calls."""


def figures() -> Iterator[Figure]:
    """Fold, then search."""
    yield _folding()
    store = CallStore(_million())
    try:
        yield from _searching(store)
    finally:
        store.close()


def text_of(number: int) -> str:
    """Give the text of a call, the same each time."""
    chance = random.Random(number)
    words = chance.choices(WORDS, k=chance.randint(8, 30)) + chance.choices(CHINESE, k=4)
    chance.shuffle(words)
    rare = RARE if number % 10_000 == 0 else ""
    return f"{' '.join(words)} order-{number} {rare}"


def _folding() -> Figure:
    """Fold sealed calls on one core, beside what a served model can answer with the other."""
    made = artefacts()
    with on(FRONT), ours(made, made.chosen) as tier:
        capacity = closed(tier.target(made.chosen, trace()), 128, TEXTS).rate
    with on(FRONT), TemporaryDirectory(prefix="slipway-bench-") as folder:
        root = Path(folder)
        vault = Vault(root / "secrets")
        writer = JournalWriter(root / "journal", "host/g1")
        for number in range(1, FOLDED + 1):
            payload = msgspec.json.encode(_payload(number))
            commitment = sha256(payload).hexdigest()
            key, sealed = vault.seal("default", float(number), payload, commitment)
            line = a_call(number, at=float(number), key=key, commitment=commitment, capture="full")
            writer.write(line, sealed)
        indexer = Indexer(root / "journal", CallStore(root / "calls.db"), vault)
        began = perf_counter()
        while indexer.fold():
            pass
        rate = FOLDED / (perf_counter() - began)
        indexer.store.close()
    return Figure(
        id="calls.indexing",
        what="calls folded on one core over those that the model answers with the other "
        f"({rate:.0f} and {capacity:.0f} a second)",
        value=rate / capacity,
        better="higher",
        goal=2.0,
    )


def _payload(number: int) -> Payload:
    output = msgspec.Raw(b'{"label":"label-%d","score":0.75}' % (number % 8))
    return Payload(input=[text_of(number)], output=output, salt="00" * 16)


def _million() -> Path:
    """Build the store, unless it is there."""
    path = ROOT / "build" / "bench" / f"calls-{CALLS}-v{VERSION}.db"
    if path.exists():
        return path
    aside = path.with_suffix(".new")
    for old in path.parent.glob(f"{aside.name}*"):
        old.unlink()
    store = CallStore(aside)
    for first in range(1, CALLS + 1, BATCH):
        _add(store, range(first, min(CALLS + 1, first + BATCH)))
    store.close()
    aside.rename(path)
    return path


def _add(store: CallStore, numbers: Sequence[int]) -> None:
    def some(_places: object) -> tuple[list[Folded], list[Place]]:
        return [(_found(number), _payload(number)) for number in numbers], []

    store.fold(some)


def _found(number: int) -> Found:
    line = a_call(number, at=float(number), user=f"user-{number % 1_000}", version=number % 5)
    canonical = msgspec.json.encode(line)
    return Found(gateway="g1", segment=1, offset=number, line=line, canonical=canonical, sealed="")


def _searching(store: CallStore) -> Iterator[Figure]:
    chance = random.Random(7)

    def number() -> int:
        return chance.randint(1, CALLS)

    long: list[Callable[[], Query]] = [
        lambda: Query(text=f"order-{number()}"),
        lambda: Query(text="the"),
        lambda: Query(text=f"order-{number()}-never"),
        lambda: Query(text=" ".join(chance.choices(WORDS, k=2))),
        lambda: Query(text="订单 发票"),
        lambda: Query(text="label-3", user=f"user-{number() % 1_000}"),
    ]
    short: list[Callable[[], Query]] = [
        lambda: Query(text=chance.choice(CHINESE)),
        lambda: Query(text=RARE),
        lambda: Query(text="没有"),
        lambda: Query(text=RARE, user=f"user-{number() % 1_000}"),
    ]
    ids: list[Callable[[], Query]] = [lambda: Query(id=f"r{number()}")]
    for name, asked, goal in (
        ("id", ids, 20),
        ("text", long, 200),
        ("two-characters", short, 500),
    ):
        times = sorted(_milliseconds(store, make()) for make in asked for _ in range(ASKED))
        yield Figure(
            id=f"calls.search.{name}",
            what=f"ms of a search by {name} among {CALLS:,} calls, p95 "
            f"(median {_of(times, 0.5):.2g}, most {times[-1]:.3g})",
            value=_of(times, 0.95),
            better="lower",
            goal=goal,
        )


def _of(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]


def _milliseconds(store: CallStore, query: Query) -> float:
    began = perf_counter()
    store.page(query)
    return (perf_counter() - began) * 1e3
