"""What it costs to keep calls findable: folding them in, and finding them among a million.

The store of a million calls is built once and kept in `build/bench`, which takes some minutes.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import msgspec

from infra.calls.folding import Folded
from infra.calls.indexing import Indexer
from infra.calls.lines import CallLine, Payload
from infra.calls.query import Query
from infra.calls.segments import Found, Place
from infra.calls.sqlite import CallStore
from infra.calls.stores import Calls
from infra.calls.tables import VERSION
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

NAMESPACES = ("default", "shop", "labs")
HOUR_US = 3_600 * 1_000_000
AT = 1_790_000_000
"""Seconds since the epoch at which the calls begin, one a second."""

Makes = Callable[[], dict[str, Any]]
"""Gives what is asked, anew each time."""


def text_of(number: int) -> str:
    """Give the text of a call, the same each time."""
    chance = random.Random(number)
    words = chance.choices(WORDS, k=chance.randint(8, 30)) + chance.choices(CHINESE, k=4)
    chance.shuffle(words)
    rare = RARE if number % 10_000 == 0 else ""
    return f"{' '.join(words)} order-{number} {rare}"


def indexing() -> Iterator[Figure]:
    """Fold sealed calls on one core, beside what a served model can answer with the other."""
    made = artefacts()
    with on(FRONT), ours(made, made.chosen) as tier:
        capacity = closed(tier.target(made.chosen, trace()), 128, TEXTS).rate
    with on(FRONT), TemporaryDirectory(prefix="slipway-bench-") as folder:
        root = Path(folder)
        written = _journal(root)
        indexer = Indexer(root / "journal", CallStore(root / "calls.db"), Vault(root / "secrets"))
        began, folded = perf_counter(), 0
        while new := indexer.fold():
            folded += new
        rate = folded / (perf_counter() - began)
        indexer.store.close()
        if folded != FOLDED or indexer.unreadable:
            raise RuntimeError(f"{folded} of {FOLDED} calls were folded, {indexer.unreadable} bare")
        kept = (root / "calls.db").stat().st_size
    yield Figure(
        id="calls.indexing",
        what="sealed calls folded on one core over those that the model answers with the other "
        f"({rate:.0f} and {capacity:.0f} a second; {written / FOLDED:.0f} bytes of journal a call, "
        f"{kept / FOLDED:.0f} of store)",
        value=rate / capacity,
        better="higher",
        goal=2.0,
    )


def _journal(root: Path) -> int:
    """Lay a journal with full payloads; give its bytes."""
    vault, writer = Vault(root / "secrets"), JournalWriter(root / "journal", "host/g1")
    for number in range(1, FOLDED + 1):
        line = _line(number)
        payload = msgspec.json.encode(_payload(number))
        commitment = sha256(payload).hexdigest()
        key, sealed = vault.seal(line.namespace, line.at_us / 1e6, payload, commitment)
        named = {"key": key, "commitment": commitment, "capture": "full"}
        writer.write(msgspec.structs.replace(line, **named), sealed)
    writer.close()
    return sum(path.stat().st_size for path in writer.place.glob("*.jsonl"))


def _payload(number: int) -> Payload:
    output = msgspec.Raw(b'{"label":"label-%d","score":0.75}' % (number % 8))
    return Payload(input=[text_of(number)], output=output, salt="00" * 16)


def _line(number: int) -> CallLine:
    version = number % 5
    made = a_call(
        number,
        at=float(AT + number),
        namespace=NAMESPACES[number % len(NAMESPACES)],
        user=f"user-{number % 1_000}",
        tenant=f"tenant-{number % 50}",
        version=version,
        arm="canary" if number % 20 == 0 else "champion",
    )
    return msgspec.structs.replace(made, digest=f"sha256:{version:064}")


def _million() -> Path:
    """Build the store, unless it is there."""
    path = ROOT / "build" / "bench" / f"calls-{CALLS}-v{VERSION}.db"
    if path.exists():
        return path
    aside = path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{aside.name}*"):
        old.unlink()
    store = CallStore(aside)
    fill(store)
    store.close()
    aside.rename(path)
    return path


def fill(store: Calls) -> None:
    """Fold a million calls into a store, batch by batch."""
    for first in range(1, CALLS + 1, BATCH):
        _add(store, range(first, min(CALLS + 1, first + BATCH)))


def _add(store: Calls, numbers: Sequence[int]) -> None:
    def some(_places: object) -> tuple[list[Folded], list[Place]]:
        return [(_found(number), _payload(number)) for number in numbers], []

    store.fold(some)


def _found(number: int) -> Found:
    line = _line(number)
    canonical = msgspec.json.encode(line)
    return Found(gateway="g1", segment=1, offset=number, line=line, canonical=canonical, sealed="")


def searching() -> Iterator[Figure]:
    """Search a million calls, and within an hour and a namespace of them."""
    store = CallStore(_million())
    try:
        yield from timed(store, "calls.search")
    finally:
        store.close()


def timed(store: Calls, named: str) -> Iterator[Figure]:
    """Time searches of every kind in a store of a million calls.

    Args:
        store: filled by `fill`.
        named: what the figures' ids begin with.
    """
    chance = random.Random(7)
    ways: list[tuple[str, Makes]] = [("", dict), (".hour", lambda: _hour(chance))]
    for name, asked, goal in _asked(chance):
        for where, narrowed in ways:
            # The median is warm either way; what is cold shows in the most.
            times = sorted(
                _milliseconds(store, Query(**make(), **narrowed()))
                for make in asked
                for _ in range(ASKED)
            )
            within = ", within an hour and a namespace" if where else ""
            yield Figure(
                id=f"{named}.{name}{where}",
                what=f"ms of a search by {name} among {CALLS:,} calls{within}, p95 "
                f"(median {_of(times, 0.5):.2g}, most {times[-1]:.3g})",
                value=_of(times, 0.95),
                better="lower",
                goal=goal,
            )


def _asked(chance: random.Random) -> list[tuple[str, list[Makes], float]]:
    """Give what is searched for: its kind, several ways to ask, and milliseconds at most."""

    def number() -> int:
        return chance.randint(1, CALLS)

    long: list[Makes] = [
        lambda: {"text": f"order-{number()}"},
        lambda: {"text": "the"},
        lambda: {"text": f"order-{number()}-never"},
        lambda: {"text": " ".join(chance.choices(WORDS, k=2))},
        lambda: {"text": "订单 发票"},
        lambda: {"text": "label-3", "user": f"user-{number() % 1_000}"},
    ]
    short: list[Makes] = [
        lambda: {"text": chance.choice(CHINESE)},
        lambda: {"text": RARE},
        lambda: {"text": "没有"},
        lambda: {"text": RARE, "user": f"user-{number() % 1_000}"},
    ]
    ids: list[Makes] = [lambda: {"id": f"r{number()}"}]
    return [("id", ids, 20), ("text", long, 200), ("two-characters", short, 500)]


def _hour(chance: random.Random) -> dict[str, Any]:
    """Narrow a search to some hour and some namespace."""
    since = (AT + chance.randint(0, CALLS - 3_600)) * 1_000_000
    named = chance.choice(NAMESPACES)
    return {"since_us": since, "until_us": since + HOUR_US, "namespace": named}


def _of(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(share * len(times)))]


def _milliseconds(store: Calls, query: Query) -> float:
    began = perf_counter()
    store.page(query)
    return (perf_counter() - began) * 1e3
