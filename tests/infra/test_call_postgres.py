"""What only the shared call store has: days as tables, texts PostgreSQL dislikes, its absence."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from infra.calls.chores import PAUSE_SECONDS
from infra.calls.days import SCHEMA
from infra.calls.indexing import Indexer, turn
from infra.calls.lines import Payload
from infra.calls.numbers import DAY_US
from infra.calls.postgres import PostgresCalls
from infra.calls.query import Query
from infra.calls.segments import Found, Place
from infra.calls.vault import Vault
from infra.calls.waiting import Unswept
from infra.processes import free_port
from release.errors import Invalid, Unavailable
from tests.fakes.call_lines import a_call
from tests.infra import postgres

DAY = 86_400.0
HOME = "a home"
FIRST = (1, 1_000_000)
"""Sequence and moment of a gateway's first call."""
DAYS = "select relname from pg_class where relname like 'day%' and relkind = 'r' order by 1"
_numbers = count(1)


@pytest.fixture
def store(postgres_server: str) -> Iterator[PostgresCalls]:
    url = postgres.create_database(postgres_server, f"shared_{next(_numbers)}")
    made = PostgresCalls(url, HOME)
    yield made
    made.close()


def add(
    store: PostgresCalls, *asked: str, gateway: str = "host_g1", first: int = 1, **more: Any
) -> int:
    """Fold a call for each text."""
    calls = []
    for number, text in enumerate(asked, first):
        line = a_call(number, **{"at": float(number), "id": f"{gateway}-{number}", **more})
        payload = Payload(input=[text], output=msgspec.Raw(b"null"), salt="")
        found = Found(
            gateway=gateway,
            segment=1,
            offset=number,
            line=line,
            canonical=msgspec.json.encode(line),
            sealed="",
        )
        calls.append((found, payload))
    return store.fold(lambda _: (calls, [Place(gateway=gateway, offset=len(asked))]))


def ids(store: PostgresCalls, text: str = "", **more: Any) -> list[str]:
    return [hit.line.id for hit in store.page(Query(text=text, **more))]


def asked(store: PostgresCalls, command: str) -> list[tuple[Any, ...]]:
    at = f"-c search_path={SCHEMA},public"
    with psycopg.connect(store.url, autocommit=True, options=at) as db:
        return db.execute(command.encode()).fetchall()


def test_hosts_share_one_store(store: PostgresCalls) -> None:
    assert add(store, "the words of one", gateway="a_g1") == 1
    other = PostgresCalls(store.url, "another home")
    assert add(other, "the words of another", gateway="b_g1") == 1
    assert ids(store, "the words") == ids(other, "the words") == ["b_g1-1", "a_g1-1"]
    assert set(store.places()) == {"a_g1"} and set(other.places()) == {"b_g1"}
    other.close()


def test_of_other_homes_the_last_call_is_told(store: PostgresCalls) -> None:
    homes = {name: PostgresCalls(store.url, name) for name in ("b", "c", "d")}
    add(store, "some words", at=40 * DAY)
    assert store.elsewhere() == []
    add(homes["b"], "some words", "more", at=39 * DAY, gateway="alike_g1")
    add(homes["b"], "some words", at=39 * DAY + 5, gateway="alike_g2")
    add(homes["c"], "some words", at=38 * DAY, gateway="alike_g1")
    add(homes["d"], "some words", at=1.0, gateway="d_g1")
    for day in range(30, 38):
        add(store, "some words", at=day * DAY, first=day)
    told = [("alike_g2", 39 * DAY_US + 5_000_000), ("alike_g1", 38 * DAY_US), ("d_g1", None)]
    assert store.elsewhere() == told
    for one in homes.values():
        one.close()


def test_hosts_that_are_called_alike_keep_their_calls_apart(store: PostgresCalls) -> None:
    other = PostgresCalls(store.url, "another home")
    assert add(store, "one of here", "two of here") == 2
    assert other.places() == {} and add(other, "one of there") == 1
    assert len(ids(store, "one of")) == 2
    assert store.forget({"host_g1": [FIRST]}) == 1
    assert len(ids(store, "one of there")) == 1 and ids(store, "one of here") == []
    other.close()


def test_a_day_goes_as_a_table_and_a_shared_one_row_by_row(store: PostgresCalls) -> None:
    add(store, "day one", "day one")
    add(store, "day two", first=3, at=1.5 * DAY)
    add(store, "kept", first=4, at=1.5 * DAY, namespace="keeps")
    add(store, "day three", first=5, at=2.5 * DAY)
    assert asked(store, DAYS) == [("day_19700101",), ("day_19700102",), ("day_19700103",)]
    assert store.drop("default", 2 * DAY_US) == 3
    assert asked(store, DAYS) == [("day_19700102",), ("day_19700103",)]
    assert ids(store) == ["host_g1-5", "host_g1-4"]
    assert store.drop("default", int(2.6 * DAY_US)) == 1 and ids(store) == ["host_g1-4"]
    assert add(store, "day one again", first=6, at=1.0) == 1


def test_what_is_too_much_for_one_host_stays_as_long_as_another_has_room(
    store: PostgresCalls,
) -> None:
    other = PostgresCalls(store.url, "another home")
    for gateway, one in (("a_g1", store), ("b_g1", other)):
        for day in range(3):
            add(one, "some words", gateway=gateway, first=day + 1, at=day * DAY + 1)
    assert store.drop("default", DAY_US, int(1.5 * DAY_US)) == 3, "two by days, one by size"
    assert ids(other) == ["b_g1-3", "a_g1-3", "b_g1-2"]
    assert store.drop("default", 0, 3 * DAY_US) == 1
    assert ids(other) == ["b_g1-3", "b_g1-2"]
    # What only this home has goes as a table, though its days are not over.
    assert other.drop("default", 0, 3 * DAY_US) == 2
    assert asked(store, DAYS) == []
    other.close()


def test_what_postgresql_cannot_hold_is_found_all_the_same(store: PostgresCalls) -> None:
    # An index would compress what repeats itself, and take it.
    long = random.Random(3).randbytes(5_000).hex()
    add(store, "before\0after", "x", user="ann\0", id=long)
    assert ids(store, "before\0after") == [long]
    assert ids(store, user="ann\0") == ids(store, id=long) == [long, long]


@pytest.mark.parametrize("few", [1, 3, 2_000])
def test_a_page_goes_over_days_and_ends_where_it_is_full(
    store: PostgresCalls, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.calls.postgres_search.FEW", few)
    for number in range(1, 13):
        words = "words of 三的倍数" if number % 3 == 0 else "nothing"
        add(store, words, first=number, at=number * DAY / 2, user=f"u{number % 2}")
    add(store, "words of 三的倍数", first=13, at=9e12)
    for text in ("words of", "倍数", "的倍数"):
        assert ids(store, text) == [f"host_g1-{n}" for n in (13, 12, 9, 6, 3)]
        assert ids(store, text, most=2) == ["host_g1-13", "host_g1-12"]
        since, until = int(2 * DAY_US), int(4.6 * DAY_US)
        assert ids(store, text, since_us=since, until_us=until) == ["host_g1-9", "host_g1-6"]
        assert ids(store, text, user="u1", until_us=until) == ["host_g1-9", "host_g1-3"]
        assert ids(store, text, user="u9") == []


def test_marks_of_patterns_are_letters_like_others(store: PostgresCalls) -> None:
    add(store, "100% of it", "100 of it", r"a_b\c", "axb\\c")
    assert ids(store, "100%") == ["host_g1-1"]
    assert ids(store, "a_b") == ids(store, r"a_b\c") == ["host_g1-3"]
    assert ids(store, "%%%") == ids(store, "___") == []


@pytest.mark.parametrize("text", ["order-17", "订单", "订单号码"])
def test_a_rare_text_is_found_by_an_index(store: PostgresCalls, text: str) -> None:
    words = (f"some words {n} and more of them {n * 7919}" for n in range(4_000))
    add(store, "order-17 订单号码", *words)
    with store._link.talking() as db:
        db.execute("vacuum analyze calls")
        assert ids(store, text) == ["host_g1-1"]
        db.execute("select pg_stat_force_next_flush()")
    used = (
        "select sum(idx_scan) from pg_stat_user_indexes"
        " where indexrelname in ('day_19700101_text_idx', 'day_19700101_words_idx')"
    )
    assert asked(store, used) == [(1,)]


def test_what_is_forgotten_is_in_no_file_of_the_tables(store: PostgresCalls) -> None:
    add(store, "my secret is swordfish 密码本", *(f"nothing of that kind {n}" for n in range(300)))
    ((folder, base),) = asked(
        store,
        "select current_setting('data_directory'),"
        " oid from pg_database where datname = current_database()",
    )

    def left() -> list[str]:
        with psycopg.connect(store.url, autocommit=True) as db:
            db.execute("checkpoint")
        files = Path(folder, "base", str(base)).iterdir()
        content = b"".join(one.read_bytes() for one in files)
        return [one for one in ("swordfish", "密码") if one.encode() in content]

    assert left() == ["swordfish", "密码"]
    assert store.forget({"host_g1": [FIRST], "other_g1": [FIRST]}) == 1
    assert left() == [] and ids(store, "swordfish") == []
    assert len(ids(store, "nothing of that kind", most=1_000)) == 300


def test_what_is_read_for_long_is_forgotten_at_once_and_written_anew_later(
    store: PostgresCalls, tmp_path: Path
) -> None:
    add(store, "my secret is swordfish")
    add(store, "my secret is swordfish", first=2, at=1.5 * DAY)
    said = list[str]()
    indexer = Indexer(tmp_path, store, Vault(tmp_path), say=said.append)
    began = time.monotonic()
    with psycopg.connect(store.url, options=f"-c search_path={SCHEMA},public") as reader:
        reader.execute("select count(*) from day_19700101")
        both = [FIRST, (2, int(1.5 * DAY_US))]
        with pytest.raises(Unswept, match="is found no more; .*files hold it still"):
            store.forget({"host_g1": both})
        assert ids(store, "swordfish") == []
        # What nobody reads is not kept by what somebody does.
        assert asked(store, "select day from unswept") == [("day_19700101",)]
        indexer.pay()
    assert len(said) == 1 and store.owed()
    assert time.monotonic() - began < 15, "it waits for 2 s each, and not for 20"
    indexer.pay()
    assert asked(store, "select day from unswept") == [] and not store.owed() and len(said) == 1


def test_what_is_forgotten_is_gone_also_while_an_older_transaction_is_open(
    store: PostgresCalls,
) -> None:
    add(store, "my secret is swordfish 密码本")
    with store._link.talking() as db:
        db.execute("analyze calls")
        db.execute("analyze day_19700101")
    with psycopg.connect(store.url, options=f"-c search_path={SCHEMA},public") as older:
        older.execute("set transaction isolation level repeatable read")
        older.execute("select 1")
        assert store.forget({"host_g1": [FIRST]}) == 1
        left = "select count(*) from pg_stats where most_common_elems::text like '%密码%'"
        assert asked(store, left) == [(0,)]
        assert asked(store, "select count(*) from calls where text is not null") == [(0,)]


def test_a_new_day_does_not_wait_for_who_reads(store: PostgresCalls) -> None:
    add(store, "day one")
    with psycopg.connect(store.url, options=f"-c search_path={SCHEMA},public") as reader:
        reader.execute("select count(*) from calls")
        with store._link.talking() as db:
            db.execute("set lock_timeout = '500ms'")
        assert add(store, "day two", first=2, at=1.5 * DAY) == 1


def test_more_calls_of_one_microsecond_than_it_has_numbers_are_kept(store: PostgresCalls) -> None:
    for first, count_ in ((1, 2_048), (2_049, 1), (2_050, 1), (2_051, 40)):
        assert at_once(store, first, count_) == count_
        assert at_once(store, first, count_) == 0, "it is there"
    assert asked(store, "select count(*) from calls") == [(2_090,)]


def at_once(store: PostgresCalls, first: int, many: int) -> int:
    return add(store, *["at once"] * many, first=first, at=DAY - 1e-6)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: str) -> None:
    name = f"latin_{next(_numbers)}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as db:
        db.execute(f"create database {name} encoding 'SQL_ASCII' template template0".encode())
    with pytest.raises(Invalid, match="its encoding is not UTF8"):
        PostgresCalls(f"{postgres_server}/{name}", HOME)


def test_a_right_that_is_missing_is_named_with_what_it_is_for(postgres_server: str) -> None:
    name, user = f"poor_{next(_numbers)}", f"poor_{next(_numbers)}"
    url = postgres.create_database(postgres_server, name)
    theirs = url.replace("slipway@", f"{user}@")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"create role {user} login".encode())
        with pytest.raises(Unavailable, match=f"has no schema {SCHEMA}, and '{user}' lacks"):
            PostgresCalls(theirs, HOME)
        db.execute(f"create schema {SCHEMA} authorization {user}".encode())
        said = f"no extension pg_trgm, .* right CREATE there.*: grant create on database {name} to"
        with pytest.raises(Unavailable, match=said):
            PostgresCalls(theirs, HOME)
        # Wherever somebody put it.
        db.execute("create extension pg_trgm")
    made = PostgresCalls(theirs, HOME)
    assert add(made, "some words") == 1 and ids(made, "some words") == ["host_g1-1"]
    made.close()


def end_others(store: PostgresCalls) -> None:
    """End every connection to the store's database, as its restart does."""
    asked(
        store,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )


def test_a_lost_connection_costs_one_question(store: PostgresCalls) -> None:
    add(store, "some words")
    end_others(store)
    with pytest.raises(Unavailable, match="does not answer"):
        store.places()
    assert ids(store, "some words") == ["host_g1-1"]


@contextmanager
def standing_still(store: PostgresCalls) -> Iterator[None]:
    """Stop the server's process at the other end of a store's connection, and no other."""
    with store._link.talking() as db:
        pid = db.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def impatient(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for name in ("link.ASK_SECONDS", "link.GRACE_SECONDS", "postgres.FOLD_SECONDS"):
        monkeypatch.setattr(f"infra.calls.{name}", seconds)
    monkeypatch.setattr("infra.calls.link.Patient.patience", seconds)


def test_a_server_that_stands_still_is_not_waited_for_for_ever(
    store: PostgresCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 0.5)
    add(store, "some words")
    said = list[str]()
    indexer = Indexer(tmp_path, store, Vault(tmp_path), say=said.append)
    for ask in (lambda: ids(store, "some words"), lambda: add(store, "more words", first=2)):
        with standing_still(store):
            began = time.monotonic()
            with pytest.raises(Unavailable, match="does not answer: nothing came from it for 1 s"):
                ask()
            assert time.monotonic() - began < 5
    with standing_still(store):
        assert turn(indexer, [], 0.0) == PAUSE_SECONDS
    (one,) = said
    assert "nothing came from it" in one
    assert ids(store, "some words") == ["host_g1-1"]


def test_a_question_that_takes_too_long_is_ended_by_the_server(
    store: PostgresCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 0.5)
    other, late = PostgresCalls(store.url, HOME), "was not done in time.*such as by --since"
    with pytest.raises(Unavailable, match=late), other._link.talking() as db:
        db.execute("select pg_sleep(10)")
    with pytest.raises(Unavailable, match=late), other._link.writing(0.2) as db:
        db.execute("select pg_sleep(10)")
    with other._link.writing(5) as db:
        db.execute("select pg_sleep(1.5)")
    assert ids(other) == []
    other.close()


def test_a_connection_that_did_not_find_its_tables_is_not_kept(store: PostgresCalls) -> None:
    add(store, "some words")
    asked(store, "update version set version = 9 returning 1")
    end_others(store)
    with pytest.raises(Unavailable, match="does not answer"):
        store.places()
    for _ in range(2):
        with pytest.raises(Unavailable, match="of version 9, not 1"):
            store.places()
    asked(store, "update version set version = 1 returning 1")
    assert ids(store, "some words") == ["host_g1-1"]


def test_a_store_of_another_version_is_refused(store: PostgresCalls) -> None:
    asked(store, "update version set version = 9 returning 1")
    with pytest.raises(Unavailable, match="of version 9, not 1"):
        PostgresCalls(store.url, HOME)


@pytest.mark.parametrize(
    ("url", "says"),
    [("mysql://host/calls", "cannot lie on 'mysql'"), ("::", "cannot be read")],
)
def test_a_url_that_is_none_is_said(url: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        PostgresCalls(url, HOME)


def test_a_password_is_not_said() -> None:
    port = free_port("127.0.0.1")
    with pytest.raises(Unavailable) as told:
        PostgresCalls(f"postgresql://u:hunter2@127.0.0.1:{port}/calls?password=hunter3", HOME)
    assert "hunter" not in str(told.value) and f"127.0.0.1:{port}/calls" in str(told.value)


def test_calls_that_claim_impossible_moments_do_not_stop_it(store: PostgresCalls) -> None:
    for at in (-1.0, 9e12):
        assert add(store, *["the same words"] * 2_100, at=at, gateway=f"g{at}") == 2_100
        assert add(store, *["the same words"] * 2_100, at=at, gateway=f"g{at}") == 0
        assert add(store, "one more", at=at, gateway=f"g{at}", first=3_000) == 1
    assert len(ids(store, "one more")) == 2
