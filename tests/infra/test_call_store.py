"""Calls are folded once, found by what they hold, and forgotten."""

import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from infra.calls.chain import call_line
from infra.calls.chores import PAUSE_SECONDS, Chore
from infra.calls.indexing import LOOK_SECONDS, Indexer, turn
from infra.calls.limits import Limits, weigh
from infra.calls.lines import CallLine, Payload
from infra.calls.onrecord import Nothing
from infra.calls.postgres import PostgresCalls
from infra.calls.query import Query
from infra.calls.segments import MOST_READ, at
from infra.calls.sqlite import CallStore
from infra.calls.sqlite_search import _conditions
from infra.calls.stores import every, opened, opening
from infra.calls.waiting import Unswept
from infra.settings import Settings, inherited
from release.callers import Recording
from release.errors import Invalid, Unavailable
from tests.fakes.call_lines import a_call
from tests.infra import postgres

SECOND = 1_000_000
FIRST = (1, SECOND)
"""Sequence and moment of a gateway's first call."""

encode = msgspec.json.encode
_numbers = count(1)


class Plain:
    """A vault that locks nothing."""

    def open(self, line: CallLine, sealed: str) -> Payload | None:
        assert line.id
        return msgspec.json.decode(bytes.fromhex(sealed), type=Payload)


@dataclass
class World:
    """Journals, and what indexes them."""

    root: Path
    store: Any
    sequences: dict[str, int] = field(default_factory=dict)
    indexer: Indexer = field(init=False)

    def __post_init__(self) -> None:
        self.indexer = Indexer(self.root / "journal", self.store, Plain())

    def write(
        self, *texts: str, gateway: str = "g1", segment: int = 1, output: Any = None, **more: Any
    ) -> CallLine:
        """Lay a call's line into a segment."""
        number = self.sequences[gateway] = self.sequences.get(gateway, 0) + 1
        more = {"at": float(number), "id": f"{gateway}-{number}", **more}
        line = a_call(number, **more)
        payload = Payload(input=list(texts), output=msgspec.Raw(encode(output)), salt="00")
        sealed = encode(payload).hex().encode() if texts else b""
        path = self.root / "journal" / gateway / f"{segment:08d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(call_line(encode(line), bytes(32), sealed))
        return line

    def found(self, text: str = "", **more: Any) -> list[str]:
        return [hit.line.id for hit in self.store.page(Query(text=text, **more))]


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[World]:
    store = CallStore(tmp_path / "calls.db")
    yield World(tmp_path, store)
    store.close()


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_server: str) -> Iterator[World]:
    name = f"calls_{next(_numbers)}"
    store = PostgresCalls(postgres.create_database(postgres_server, name), "a home")
    yield World(tmp_path, store)
    store.close()


@pytest.fixture(params=["on_sqlite", "on_postgres"])
def world(request: pytest.FixtureRequest) -> World:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, World)
    return found


def test_a_call_is_found_by_what_was_asked_and_answered(world: World) -> None:
    world.write("Where is order-12345?", output={"label": "shipping"})
    world.write("我的订单在哪里？数据丢失了", output={"label": "物流"})
    world.write("ＡＢＣ full width", output=None, error="the replica is gone", outcome="gone")
    world.write()
    assert world.indexer.fold() == 4
    for text, ids in {
        "order-123": ["g1-1"],
        "ORDER-12345": ["g1-1"],
        "shipping": ["g1-1"],
        "订单": ["g1-2"],
        "数据": ["g1-2"],
        "单在": ["g1-2"],
        "的订单在": ["g1-2"],
        "丢": ["g1-2"],
        "？数": ["g1-2"],
        "里?": ["g1-2"],
        "！数": [],
        "丢了": [],
        "了a": [],
        "物流": ["g1-2"],
        "abc": ["g1-3"],
        "replica is gone": ["g1-3"],
        "order-99": [],
        "数单": [],
        'a "quoted" one': [],
    }.items():
        assert world.found(text) == ids, text
    assert world.found() == ["g1-4", "g1-3", "g1-2", "g1-1"]


def test_punctuation_of_wide_scripts_is_found_too(world: World) -> None:
    world.write("他说：「你好。」然后・走了", "々〇")
    world.write("他说你好")
    world.indexer.fold()
    for text in ("「", "。", "好。", "。」", "・走", "「你", "你好。」", "々"):
        assert world.found(text) == ["g1-1"], text
    assert world.found("你好") == ["g1-2", "g1-1"]


def test_of_an_answer_its_values_are_found_and_not_how_it_is_written(world: World) -> None:
    world.write("one", output={"label": "shipping", "score": 0.5})
    world.write("two", output=[{"label": "x"}, {"label": 'he said "yes"\nand went'}])
    world.write("three", output={"choices": [{"message": {"content": ["C:\\temp", "数据"]}}]})
    world.write("four", output="plain text")
    world.indexer.fold()
    for text, ids in {
        "shipping": ["g1-1"],
        'said "yes"': ["g1-2"],
        '"yes"\nand': ["g1-2"],
        "c:\\temp": ["g1-3"],
        "数据": ["g1-3"],
        "plain text": ["g1-4"],
        "label": [],
        "score": [],
        "content": [],
    }.items():
        assert world.found(text) == ids, text


def test_a_user_is_found_in_every_way_that_the_name_is_written(world: World) -> None:
    # In one character, and in two.
    for user in ("Zo\u00eb", "Zoe\u0308", "Zoe"):
        world.write("the same words", user=user)
    world.indexer.fold()
    for user in ("Zo\u00eb", "Zoe\u0308"):
        assert world.found(user=user) == world.found("same", user=user) == ["g1-2", "g1-1"]
    assert world.found(user="Zoe") == ["g1-3"]


def test_conditions_narrow_what_is_found(world: World) -> None:
    for number in range(1, 9):
        world.write(
            "the same words", user=f"u{number % 2}", version=number % 4, status=200 + number
        )
    world.indexer.fold()
    assert world.found("same", user="u1", version=3) == ["g1-7", "g1-3"]
    assert world.found(user="u1", version=3) == ["g1-7", "g1-3"]
    assert world.found("same", status=204) == world.found(id="g1-4") == ["g1-4"]
    assert world.found(since_us=3 * SECOND, until_us=5 * SECOND) == ["g1-4", "g1-3"]
    assert world.found("same", namespace="other") == world.found("same", user="u") == []


@pytest.mark.parametrize(
    "asked",
    [
        {"id": "a"},
        {"user": "ann"},
        {"tenant": "acme"},
        {"digest": "sha256:a"},
        {"version": 3},
        {"arm": "canary"},
        {"status": 504},
        {"caller": "key"},
        {"outcome": "timeout"},
        {"namespace": "n"},
        {"endpoint": "e", "version": 3},
    ],
)
def test_no_condition_looks_at_every_call(on_sqlite: World, asked: dict[str, Any]) -> None:
    wheres, values = _conditions(Query(**asked))
    sql = f"explain query plan select number from calls where {' and '.join(wheres)}"  # noqa: S608
    plan = " ".join(str(row[3]) for row in on_sqlite.store.select(sql, values))
    assert plan.startswith("SEARCH"), plan


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"id": "a", "since_us": 1, "until_us": 9, "namespace": "n"}, "calls_id"),
        ({"user": "ann", "namespace": "n", "endpoint": "e", "since_us": 1}, "calls_user"),
        ({"arm": "canary", "version": 3, "endpoint": "e", "until_us": 9}, "calls_arm"),
        ({"endpoint": "e", "version": 3, "namespace": "n"}, "calls_endpoint"),
    ],
)
def test_of_several_indexes_the_one_that_leaves_least_is_taken(
    on_sqlite: World, asked: dict[str, Any], index: str
) -> None:
    on_sqlite.store.close()
    on_sqlite.store = CallStore(on_sqlite.root / "calls.db")
    wheres, values = _conditions(Query(**asked))
    sql = f"explain query plan select number from calls where {' and '.join(wheres)}"  # noqa: S608
    sql += " order by number desc limit 50"
    (plan,) = [str(row[3]) for row in on_sqlite.store.select(sql, values)]
    assert f" {index} " in plan, plan


MISLED = "insert into sqlite_stat1 values ('texts_data', null, '2'), ('words_data', null, '2')"
"""What an `analyze` of the empty store had told stores of before."""


@pytest.mark.parametrize("told", ["", MISLED])
def test_a_fold_takes_no_more_steps_in_a_store_that_has_grown(on_sqlite: World, told: str) -> None:
    if told:
        on_sqlite.store.select(told, [])
        on_sqlite.store.close()
        on_sqlite.indexer.store = on_sqlite.store = CallStore(on_sqlite.root / "calls.db")
    chance, steps = random.Random(5), list[int]()
    for _ in range(120):
        for _ in range(25):
            on_sqlite.write(
                chance.randbytes(150).hex(), "".join(chance.choices("订单发票退款", k=9))
            )
        at_each = count()
        # It is asked after every ten steps, and what is false lets the statement go on.
        on_sqlite.store._db.set_progress_handler(partial(_counted, at_each), 10)
        assert on_sqlite.indexer.fold() == 25
        steps.append(next(at_each))
    assert sum(steps[-40:]) < 2 * sum(steps[:40])


def _counted(steps: Iterator[int]) -> bool:
    next(steps)
    return False


@pytest.mark.parametrize("few", [0, 2_000])
@pytest.mark.parametrize("text", ["", "same words", "同样"])
def test_pages_join_without_a_gap(
    world: World, text: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.sqlite_search.FEW", few)
    monkeypatch.setattr("infra.calls.stores.MOST", 3)
    for number in range(10):
        world.write("the same words 同样的话", user="u" if number % 5 else "v")
    world.indexer.fold()
    found = [hit.line.sequence for hit in every(world.store, Query(text=text, user="u", most=1))]
    assert found == [10, 9, 8, 7, 5, 4, 3, 2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"text": "ab"}, "'ab' is too short"),
        ({"most": 0}, "1 to 1000 calls, not 0"),
        ({"below": 2**63}, "No call has the number 9223372036854775808"),
        ({"below": -1}, "No call has the number -1"),
    ],
)
def test_what_cannot_be_searched_is_said(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        Query(**wrong)


def test_any_number_and_any_moment_may_be_asked_for(world: World) -> None:
    world.write("the same words")
    world.indexer.fold()
    far = 10**30
    asked: list[tuple[dict[str, Any], list[str]]] = [
        *(({"below": 2**63 - 1}, ["g1-1"]), ({"below": 0}, [])),
        *(({"since_us": -far}, ["g1-1"]), ({"since_us": far}, [])),
        *(({"until_us": far}, ["g1-1"]), ({"until_us": -far}, [])),
    ]
    for one, found in asked:
        assert world.found("the same", **one) == world.found(**one) == found, one


def test_a_search_is_the_same_as_looking_at_every_call(world: World) -> None:
    """An oracle of one line, over texts of few letters so that chance hits are frequent."""
    chance = random.Random(5)
    texts = ["".join(chance.choices("abc 数据库", k=chance.randint(1, 12))) for _ in range(300)]
    for text in texts:
        world.write(text, user=chance.choice("xyz"))
    world.indexer.fold()
    for _ in range(200):
        term = "".join(chance.choices("abc 数据库", k=chance.randint(1, 4)))
        if len(term) < 3 and not set(term) & set("数据库"):
            continue
        wide = "".join(chance.choices("数据库", k=2))
        for one in (term, wide):
            expected = [n + 1 for n, text in enumerate(texts) if one in text][::-1][:50]
            hits = world.store.page(Query(text=one))
            assert [hit.line.sequence for hit in hits] == expected, one


def test_lines_are_folded_once_whatever_happens_between(world: World) -> None:
    world.write("first one", gateway="g1")
    world.write("first of another", gateway="g2")
    journal = world.root / "journal" / "g1" / "00000001.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"window":1,"tallies":{}}\n{"call":"torn')
    assert world.indexer.fold() == 2 and world.indexer.fold() == 0
    journal.write_bytes(journal.read_bytes().removesuffix(b'{"call":"torn'))
    world.write("second one", gateway="g1")
    world.write("third one", gateway="g1", segment=2)
    assert world.indexer.fold() == 2 and world.indexer.fold() == 0
    # Another indexer that read from the beginning adds nothing: a call is itself.
    world.store.fold(
        lambda places: ([], [replace(one, segment=1, offset=0) for one in places.values()])
    )
    assert world.indexer.fold() == 0
    assert sorted(world.found()) == ["g1-1", "g1-2", "g1-3", "g2-1"]


def test_a_long_journal_is_read_in_parts(world: World) -> None:
    for number in range(40):
        world.write("x" * 500, segment=1 + number // 10)
    parts, behind = 0, set[bool]()
    while taken := world.indexer.fold(most=3_000):
        parts += taken
        behind.add(world.indexer.behind)
    assert not world.indexer.behind and behind == {True}
    assert parts == 40 and world.found() == [f"g1-{n}" for n in range(40, 0, -1)]


def test_what_is_due_is_done_however_much_there_is_to_fold(world: World) -> None:
    done = list[str]()
    often, seldom = (
        Chore(10, lambda: done.append("often"), 5),
        Chore(30, lambda: done.append("seldom"), 25),
    )
    for now in range(0, 40, 4):
        world.write("a call before each look")
        assert turn(world.indexer, [often, seldom], now) == LOOK_SECONDS
    assert done == ["often", "often", "seldom", "often"] and len(world.found()) == 10
    world.write("x" * MOST_READ)
    assert turn(world.indexer, [], 50) == 0, "there may be more"
    assert turn(world.indexer, [], 50) == LOOK_SECONDS


def test_a_chore_that_fails_costs_neither_folding_nor_other_chores(world: World) -> None:
    done, said = list[float](), list[str]()
    world.indexer.say = said.append

    def fails() -> None:
        raise Unavailable("The ledger is away.")

    bad, good = Chore(600, fails, 0), Chore(10, lambda: done.append(now), 0)
    for now in (0, 4, 8, 12):
        world.write("x" * MOST_READ)
        world.write("x" * MOST_READ)
        assert turn(world.indexer, [bad, good], now) == 0, "there is more to fold"
    assert done == [0, 12] and said == ["The ledger is away."] * 2, "at 0, and at 8 once more"


def test_a_chore_is_tried_again_less_and_less_often_until_it_succeeds() -> None:
    tried, said, away = list[int](), list[str](), [True]

    def work() -> None:
        tried.append(now)
        if away[0]:
            raise OSError("It is away.")

    chore = Chore(100, work, 0)
    for now in range(2_000):
        chore.look(now, said.append)
    assert tried == [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835] and len(said) == 10
    away[0] = False
    for now in range(2_000, 2_700):
        away[0] = now > 2_600
        chore.look(now, said.append)
    assert tried[10:] == [2435, 2535, 2635, 2640, 2650, 2670]


def test_a_store_that_is_away_costs_no_chore_its_turn(on_sqlite: World) -> None:
    done, said = list[str](), list[str]()
    on_sqlite.indexer.say = said.append
    on_sqlite.store.select("pragma query_only = 1", [])
    on_sqlite.write("cannot be folded")
    chore = Chore(10, lambda: done.append("it"), 0)
    assert turn(on_sqlite.indexer, [chore], 0) == PAUSE_SECONDS
    assert done == ["it"] and "cannot be written" in said.pop() and said == []


def test_what_a_failed_sweep_has_dropped_is_settled_all_the_same(on_sqlite: World) -> None:
    on_sqlite.write("my secret is swordfish", namespace="a")
    on_sqlite.write("whatever", namespace="b")
    on_sqlite.indexer.fold()
    on_sqlite.indexer.settle()

    class Fails(CallStore):
        def drop(self, namespace: str, before_us: int, own_us: int = 0) -> int:
            if namespace == "b":
                raise Unavailable("The call store cannot be written.")
            return super().drop(namespace, before_us, own_us)

    whole, on_sqlite.indexer.store = on_sqlite.store, Fails(on_sqlite.root / "calls.db")
    limits = Limits(recordings={}, otherwise=Recording(days=5))
    with pytest.raises(Unavailable):
        on_sqlite.indexer.sweep(10 * 86_400 * SECOND, limits, lambda _: None)
    on_sqlite.indexer.store.close()
    on_sqlite.indexer.store = whole
    on_sqlite.indexer.settle()
    whole.close()
    assert traces(on_sqlite, "swordfish", "rdf") == []


def test_the_indexer_waits_for_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.stores.PAUSE_SECONDS", 0.01)
    settings, said = Settings(home=tmp_path), list[str]()
    settings.call_store.mkdir(parents=True)

    def hear(what: str) -> None:
        said.append(what)
        if len(said) == 2:
            settings.call_store.rmdir()

    opening(settings, hear).close()
    assert len(said) == 2 and all("cannot be opened" in one for one in said)


def test_waiting_for_its_store_the_indexer_ends_at_once_when_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        environment = inherited(SLIPWAY_HOME=str(tmp_path), SLIPWAY_CALLS_URL=url)
        child = subprocess.Popen(
            [sys.executable, "-m", "infra.calls.indexing"], env=environment, stderr=subprocess.PIPE
        )
        asked, _ = silent.accept()
        asked.settimeout(20)
        assert asked.recv(1), "it waits for an answer now, as it would for ten seconds"
        time.sleep(0.2)
        began = time.monotonic()
        child.terminate()
        _, said = child.communicate(timeout=20)
        asked.close()
    assert (child.returncode, said) == (0, b"") and time.monotonic() - began < 5


class AtFirstAway(Nothing):
    """Erasures that cannot be asked for at first."""

    looks = 0

    def look(self) -> None:
        self.looks += 1
        if self.looks == 1:
            raise Unavailable("The ledger does not answer.")


def test_nothing_is_folded_while_nobody_knows_what_is_erased(world: World) -> None:
    world.indexer.erased = away = AtFirstAway()
    assert world.indexer.fold() == 0 and away.looks == 0, "there is nothing to ask for"
    world.write("some words")
    with pytest.raises(Unavailable, match="The ledger does not"):
        world.indexer.fold()
    assert world.found() == [] and world.store.places() == {}
    assert world.indexer.fold() == 1 and world.found("some words") == ["g1-1"]


def test_a_line_that_is_none_costs_no_other(world: World) -> None:
    world.write("before it")
    with (world.root / "journal" / "g1" / "00000001.jsonl").open("ab") as file:
        file.write(b'{"call":{"id":7},"chain":"","sealed":""}\n')
    world.write("after it")
    assert world.indexer.fold() == 2 and world.indexer.unreadable == 1


def test_a_hit_says_where_its_line_lies(world: World) -> None:
    world.write("one 1")
    world.write("two 2", segment=2)
    world.indexer.fold()
    (hit,) = world.store.page(Query(text="two 2"))
    found = at(world.root / "journal", hit.gateway, hit.segment, hit.offset)
    assert found is not None and found.line == hit.line and found.sealed
    assert at(world.root / "journal", "g1", 3, 0) is None


def test_a_call_of_a_gateway_that_began_anew_is_not_forgotten_with_the_one_before(
    world: World,
) -> None:
    world.write("words of ann")
    world.indexer.fold()
    for path in (world.root / "journal" / "g1").iterdir():
        path.unlink()
    world.sequences.clear()
    world.write("words of bob, which are more", at=2.0, id="anew")
    world.indexer.fold()
    assert world.found("words of") == ["anew", "g1-1"]
    assert world.store.forget({"g1": [FIRST]}) == 1
    assert world.found("words of") == ["anew"]


def test_what_is_forgotten_is_found_no_more_and_leaves_no_trace(world: World) -> None:
    world.write("my secret is swordfish 密码本")
    world.write("nothing of that kind")
    world.indexer.fold()
    assert world.store.forget({"g1": [FIRST], "g2": [FIRST]}) == 1
    assert world.found("swordfish") == world.found("密码") == []
    assert world.found() == ["g1-2", "g1-1"], "the line stays"
    world.store.close()
    left = b"".join(path.read_bytes() for path in world.root.glob("calls.db*"))
    found = [one for one in ("swordfish", "rdf", "密码") if one.encode() in left]
    assert not found


def traces(world: World, *texts: str) -> list[str]:
    """Give which texts lie in the store's files."""
    left = b"".join(path.read_bytes() for path in world.root.glob("calls.db*"))
    return [one for one in texts if one.encode() in left]


def test_what_is_dropped_leaves_no_trace_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.settling.MERGED_PAGES", 1)
    monkeypatch.setattr("infra.calls.settling.BETWEEN_SECONDS", 0.0)
    for number in range(200):
        old = number % 2
        world.write(
            "my secret is swordfish 密码本" if old else "nothing of that kind 订单",
            at=0.0 if old else 9.0 * 86_400,
        )
        if number % 20 == 0:
            world.indexer.fold()
    world.indexer.fold()
    now_us = 10 * 86_400 * SECOND
    limits = Limits(recordings={}, otherwise=Recording(days=5))
    assert world.indexer.sweep(now_us, limits, lambda _: None) == 100
    world.indexer.settle()
    assert world.found("swordfish") == [] and len(world.found("nothing of", most=1000)) == 100
    assert len(world.found("订单", most=1000)) == 100
    world.store.close()
    assert traces(world, "swordfish", "rdf", "密码") == []


@contextmanager
def reading(world: World) -> Iterator[None]:
    """Read the store for long, as it is now."""
    reader = sqlite3.connect(world.root / "calls.db", isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from calls").fetchall()
    yield
    reader.close()


def hurried(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("infra.calls.settling.READ_SECONDS", 0.1)
    monkeypatch.setattr("infra.calls.settling.SETTLE_SECONDS", seconds)


def test_what_is_forgotten_while_somebody_reads_leaves_the_files_later(
    on_sqlite: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch, 0.5)
    on_sqlite.write("my secret is swordfish")
    on_sqlite.indexer.fold()
    waits, said = list[str](), list[str]()
    eraser = CallStore(on_sqlite.root / "calls.db", waits.append)
    with reading(on_sqlite):
        with pytest.raises(Unswept, match="is found no more; .*files hold it still"):
            eraser.forget({"g1": [FIRST]})
        assert traces(on_sqlite, "swordfish") == ["swordfish"], "that is why it is said"
        assert on_sqlite.found("swordfish") == [] and len(waits) == 1
        assert "is read for long; that is waited for, 0 s more" in waits[0]
    # Whoever erased may be gone by now.
    eraser.close()
    on_sqlite.indexer.say = said.append
    with reading(on_sqlite):
        on_sqlite.write("others go on")
        assert on_sqlite.indexer.fold() == 1
        on_sqlite.indexer.pay()
        assert len(said) == 1 and on_sqlite.store.owed()
    on_sqlite.indexer.pay()
    assert traces(on_sqlite, "swordfish", "rdf") == []
    assert not on_sqlite.store.owed() and len(said) == 1


def test_an_erasure_waits_for_who_reads_and_says_so(
    on_sqlite: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch, 20.0)
    on_sqlite.write("my secret is swordfish")
    on_sqlite.indexer.fold()
    with ExitStack() as until_it_is_said:
        until_it_is_said.enter_context(reading(on_sqlite))
        waits = list[str]()

        def hear(said: str) -> None:
            waits.append(said)
            until_it_is_said.close()

        eraser = CallStore(on_sqlite.root / "calls.db", hear)
        assert eraser.forget({"g1": [FIRST]}) == 1
        eraser.close()
    assert len(waits) == 1 and "is read for long; that is waited for, 20 s more" in waits[0]
    assert traces(on_sqlite, "swordfish", "rdf") == [] and not on_sqlite.store.owed()


def test_what_was_dropped_while_somebody_read_is_owed_as_well(
    on_sqlite: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(monkeypatch, 20.0)
    on_sqlite.write("my secret is swordfish")
    on_sqlite.indexer.fold()
    said = list[str]()
    on_sqlite.indexer.say = said.append
    with reading(on_sqlite):
        assert on_sqlite.store.drop("default", 2 * SECOND) == 1
        assert not on_sqlite.store.owed(), "it is settled within the hour"
        on_sqlite.indexer.settle()
    assert on_sqlite.store.owed() and len(said) == 1
    on_sqlite.indexer.pay()
    assert traces(on_sqlite, "swordfish", "rdf") == []


def test_a_store_of_before_learns_what_it_owes(on_sqlite: World) -> None:
    on_sqlite.write("my secret is swordfish")
    on_sqlite.indexer.fold()
    on_sqlite.store.select("drop table unswept", [])
    store = CallStore(on_sqlite.root / "calls.db")
    assert not store.owed() and store.forget({"g1": [FIRST]}) == 1
    store.close()


def test_what_a_killed_erasure_has_forgotten_is_owed(on_sqlite: World) -> None:
    on_sqlite.write("my secret is swordfish")
    on_sqlite.indexer.fold()
    dies = "import os, sys; from pathlib import Path; from infra.calls import sqlite; "
    dies += "sqlite.merge = lambda _: os._exit(9); "
    dies += f"sqlite.CallStore(Path(sys.argv[1])).forget({{'g1': [{FIRST}]}})"
    path = str(on_sqlite.root / "calls.db")
    assert subprocess.run([sys.executable, "-c", dies, path], check=False).returncode == 9
    assert on_sqlite.store.owed() and traces(on_sqlite, "swordfish") == ["swordfish"]
    on_sqlite.indexer.pay()
    assert traces(on_sqlite, "swordfish", "rdf") == [] and not on_sqlite.store.owed()


def test_a_gateway_that_begins_anew_is_told_from_what_it_was(world: World) -> None:
    world.write("before it was deleted", at=5.0)
    world.indexer.fold()
    (world.root / "journal" / "g1" / "00000001.jsonl").unlink()
    world.sequences.clear()
    for at_second in (7.0, 8.0):
        world.write("since it began anew", at=at_second)
    world.indexer.fold()
    assert len(world.found("since it began")) == 2 and len(world.found("before it")) == 1


@pytest.mark.parametrize("left", [0, 100])
def test_a_segment_that_was_shortened_is_read_again_and_that_is_said(
    world: World, left: int
) -> None:
    said = list[str]()
    world.indexer.say = said.append
    for text in ("first one", "second one", "third one"):
        world.write(text, segment=2)
    assert world.indexer.fold() == 3
    path = world.root / "journal" / "g1" / "00000002.jsonl"
    path.write_bytes(path.read_bytes()[:left])
    with path.open("ab") as file:
        file.write(b"\n" if left else b"")
    world.write("since it was cut", segment=2)
    assert world.indexer.fold() == 1 and world.found("since it was") == ["g1-4"]
    (one,) = said
    assert "g1 is not as it was read" in one and "read again from segment 2" in one
    world.write("and on", segment=3)
    assert world.indexer.fold() == 1 and len(said) == 1


def test_what_lies_behind_a_gap_is_read_and_the_gap_is_said(world: World) -> None:
    said = list[str]()
    world.indexer.say = said.append
    world.write("before the gap", segment=1)
    world.write("behind the gap", segment=4)
    assert world.indexer.fold() == 2 and world.found("behind the") == ["g1-2"]
    assert "segments 2 to 3 of g1 cannot be indexed" in said.pop()
    world.write("never read", segment=5)
    world.write("behind it too", segment=6)
    for segment in (4, 5):
        (world.root / "journal" / "g1" / f"0000000{segment}.jsonl").unlink()
    assert world.indexer.fold() == 1 and world.found("behind it too") == ["g1-4"]
    assert "segments 4 to 5 of g1 cannot be indexed" in said.pop() and said == []


def test_what_is_too_much_for_this_host_is_dropped(world: World) -> None:
    for number in range(4):
        world.write("some words " * 50_000, at=8.5 * 86_400 + number)
    world.indexer.fold()
    weights = weigh(world.root / "journal", world.root / "sizes.json")
    wants = Recording(days=5, most_mb=3)
    limits = Limits(recordings={"default": wants}, otherwise=wants, weights=weights)
    assert world.indexer.sweep(10 * 86_400 * SECOND, limits, lambda _: None) == 2
    assert world.found() == ["g1-4", "g1-3"]


def test_what_is_too_much_for_this_host_goes_alone(on_postgres: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other", PostgresCalls(on_postgres.store.url, "another home"))
    for each, gateway in ((on_postgres, "g1"), (other, "g2")):
        each.write("some words " * 50_000, gateway=gateway, at=8.0 * 86_400)
        each.indexer.fold()
    weights = weigh(on_postgres.root / "journal", on_postgres.root / "sizes.json")
    wants = Recording(days=5, most_mb=1)
    limits = Limits(recordings={}, otherwise=wants, weights=weights)
    assert on_postgres.indexer.sweep(10 * 86_400 * SECOND, limits, lambda _: None) == 1
    assert on_postgres.found() == ["g2-1"]
    other.store.close()


def test_what_is_too_old_is_dropped_by_namespace(world: World) -> None:
    day = 86_400
    world.write("old words", at=0.0)
    world.write("old words", at=0.0, namespace="keeps")
    world.write("new words", at=9.0 * day)
    world.indexer.fold()
    world.write("old words", at=0.0, namespace="nobody-made-it")
    world.indexer.fold()
    assert world.store.namespaces() == ["default", "keeps", "nobody-made-it"]
    recordings = {"default": Recording(days=5), "keeps": Recording(days=50)}
    limits = Limits(recordings=recordings, otherwise=Recording(days=5))
    assert world.indexer.sweep(10 * day * SECOND, limits, lambda _: None) == 2
    assert world.found("words") == ["g1-3", "g1-2"]
    assert world.store.namespaces() == ["default", "keeps"]


def test_whoever_writes_need_not_wait_until_all_is_dropped(
    on_sqlite: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.sqlite.DROPPED", 2)
    monkeypatch.setattr("infra.calls.sqlite.BETWEEN_SECONDS", 0.3)
    for _ in range(10):
        on_sqlite.write("old words")
    on_sqlite.write("other words", namespace="keeps")
    on_sqlite.indexer.fold()
    gone = list[int]()

    def drop() -> None:
        store = CallStore(on_sqlite.root / "calls.db")
        gone.append(store.drop("default", 99 * SECOND))
        store.close()

    dropping = Thread(target=drop)
    dropping.start()
    _until(lambda: len(on_sqlite.found()) < 11)
    on_sqlite.write("new words", at=100.0)
    assert on_sqlite.indexer.fold() == 1
    there = on_sqlite.found()
    assert there[0] == "g1-12" and "g1-10" in there, "the oldest go first, and not all at once"
    dropping.join()
    assert gone == [10] and on_sqlite.found("words") == ["g1-12", "g1-11"]


def test_only_its_owner_may_read_the_store(on_sqlite: World) -> None:
    assert (on_sqlite.root / "calls.db").stat().st_mode & 0o077 == 0


def test_a_store_of_another_version_is_refused(on_sqlite: World) -> None:
    on_sqlite.store.select("pragma user_version = 9", [])
    with pytest.raises(Unavailable, match="of version 9, not 3"):
        CallStore(on_sqlite.root / "calls.db")


def test_processes_that_make_the_store_at_once_make_it_once(tmp_path: Path) -> None:
    makes = "import sys; from pathlib import Path; from infra.calls.sqlite import CallStore; "
    makes += "sys.stdin.read(); CallStore(Path(sys.argv[1])).close()"
    for number in range(3):
        path = str(tmp_path / f"{number}.db")
        children = [
            subprocess.Popen(
                [sys.executable, "-c", makes, path], stdin=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(4)
        ]
        time.sleep(0.5)
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        said = [child.stderr.read() for child in children if child.stderr is not None]
        assert ([child.wait(20) for child in children], said) == ([0] * 4, [b""] * 4)
        for child in children:
            assert child.stderr is not None
            child.stderr.close()


def test_killed_while_it_indexes_it_doubles_and_loses_nothing(world: World) -> None:
    for number in range(3_000):
        world.write(gateway=f"g{number % 3}")
    _killed(world, 3_000)


def test_calls_of_more_days_than_a_server_has_locks_for_are_folded_by_and_by(
    tmp_path: Path,
) -> None:
    postgres.skip_without()
    # A sixth of the locks that it has by default: then 170 days are too many at once, not 1,000.
    with postgres.server(max_locks_per_transaction="10") as url:
        world = World(tmp_path, PostgresCalls(postgres.create_database(url, "calls"), "a home"))
        for number in range(680):
            world.write(gateway=f"g{number % 2}", at=number // 4 * 86_400.0)
        _killed(world, 680)
        world.store.close()


def _killed(world: World, calls: int) -> None:
    """Index what was written, killed again and again, and then one call more."""
    url = world.store.url if isinstance(world.store, PostgresCalls) else ""
    environment = inherited(SLIPWAY_HOME=str(world.root), SLIPWAY_CALLS_URL=url)
    settings = Settings(home=world.root, calls_url=SecretStr(url))
    for kill in range(6):
        child = subprocess.Popen(
            [sys.executable, "-m", "infra.calls.indexing"], env=environment, stderr=subprocess.PIPE
        )
        if kill < 5:
            time.sleep(0.25 + kill * 0.06)
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
            continue
        _until(lambda: _count(settings) == calls)
        world.write(gateway="g1")
        _until(lambda: _count(settings) == calls + 1)
        child.terminate()
        _, said = child.communicate(timeout=10)
        assert child.returncode == 0 and said == b""
    assert _count(settings) == calls + 1


def _count(settings: Settings) -> int:
    store = opened(settings)
    found = [hit.line.id for hit in every(store, Query())]
    store.close()
    assert len(found) == len(set(found))
    return len(found)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_newest_is_told_by_when_a_call_arrived_and_not_by_when_it_was_indexed(world: World) -> None:
    for at_second in (10.0, 30.0):
        world.write("the same words 同样", gateway="g1", at=at_second)
    world.indexer.fold()
    # What a gateway wrote meanwhile comes late, such as after its host was away.
    for at_second in (20.0, 5.0):
        world.write("the same words 同样", gateway="g2", at=at_second)
    world.indexer.fold()
    newest_first = ["g1-2", "g2-1", "g1-1", "g2-2"]
    for text in ("", "same words", "同样"):
        assert world.found(text) == newest_first
        assert world.found(text, until_us=30 * SECOND, most=1) == ["g2-1"]
        assert world.found(text, since_us=10 * SECOND, until_us=30 * SECOND) == ["g2-1", "g1-1"]
    assert [hit.line.id for hit in every(world.store, Query())] == newest_first


def test_calls_of_one_microsecond_are_all_kept(world: World) -> None:
    for _ in range(20):
        world.write("at once", gateway="g1", at=7.0)
        world.write("at once", gateway="g2", at=7.0)
    assert world.indexer.fold() == 40
    assert len(world.found("at once", until_us=7 * SECOND + 1)) == 40
    assert world.found("at once", until_us=7 * SECOND) == []


@pytest.mark.parametrize("at_second", [-1.0, 9e12])
def test_a_line_that_claims_an_impossible_moment_is_kept_too(
    world: World, at_second: float
) -> None:
    world.write("the same words", at=at_second)
    world.write("the same words", at=at_second)
    assert world.indexer.fold() == 2
    assert len(world.found("same words")) == 2
