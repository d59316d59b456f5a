"""Opening a ledger: its schema, its speed, its errors."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from infra.callers.namespaces import Namespaces
from infra.ledger import Ledger, schema
from infra.ledger.database import Database
from infra.ledger.migrate import MIGRATIONS
from infra.ledger.rows import desired_row
from infra.processes import free_port
from infra.settings import inherited
from release.callers import Capture, Recording, Said, WhenFull
from release.errors import Conflict, Invalid, Unavailable
from release.releases import Desired, ReplicaStatus
from release.routes import Serving
from tests.fakes.nouns import POLICY
from tests.infra.world import an_event, opened


def test_migrations_lead_to_the_schema_of_the_code(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == schema.HEAD


def test_a_ledger_of_before_is_brought_along(url: str) -> None:
    database = Database(url)
    if database.is_sqlite:
        database.path.parent.mkdir(parents=True, exist_ok=True)
    with database.write() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, "0001")
        row = desired_row(Desired(model="docs", generation=3, policy_text=POLICY))
        del row["shadow_percent"]  # which came later
        owner = {"model": "docs", "epoch": 1, "owner": "", "owner_until": 0.0, "changed_at": 0.0}
        connection.execute(sa.insert(schema.desired).values(**row, **owner))
    database.close()
    ledger = Ledger.open(url)
    assert ledger.desired("docs").route().serving == Serving()
    assert ledger.desired("docs").shadow_percent == 0
    rows = [
        ReplicaStatus(agent="a", endpoint="docs", digest="d", ready=True, number=number)
        for number in (1, 2)
    ]
    ledger.observe([], rows, "a")
    assert ledger.replicas("docs") == rows
    ledger.close()


def test_what_namespaces_said_before_stays_said(url: str) -> None:
    database = Database(url)
    if database.is_sqlite:
        database.path.parent.mkdir(parents=True, exist_ok=True)
    row = {"name": "shop", "capture": "hash", "sample": 0.5, "strict": True, "days": 7}
    with database.write() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, "0007")
        connection.execute(sa.insert(schema.namespaces).values(**row, when_full="block", most_mb=9))
    database.close()
    ledger = Ledger.open(url)
    spaces = Namespaces(ledger, Recording())
    assert spaces.said()["shop"] == Said(
        capture=Capture.HASH,
        sample=0.5,
        strict=True,
        when_full=WhenFull.BLOCK,
        days=7,
        most_mb=9,
    )
    with ledger.database.write() as connection:
        connection.execute(sa.insert(schema.namespaces).values(name="bare"))
    assert spaces.said()["bare"] == Said()
    ledger.close()


def test_a_file_of_a_ledger_is_its_owner_s_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        ledger = Ledger.open(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}")
        ledger.note(an_event())
        files = [path for path in (tmp_path / "home").iterdir() if "-" in path.name]
        files.append(tmp_path / "home" / "ledger.db")
        assert len(files) > 1, "what lies beside it as long as it is open"
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        ledger.close()
    finally:
        os.umask(before)


def test_a_ledger_survives_being_closed(url: str) -> None:
    first = Ledger.open(url)
    release = opened(first)
    first.close()
    second = Ledger.open(url)
    assert second.release(release.id) == release
    second.close()


def test_opening_what_is_up_to_date_is_quick(url: str) -> None:
    Ledger.open(url).close()
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        ledger = Ledger.open(url)
        spent.append(time.perf_counter() - started)
        ledger.close()
    assert min(spent) < 0.1, "alembic alone takes longer"


def test_opening_what_is_up_to_date_imports_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    Ledger.open(url).close()
    code = (
        "import sys; from infra.ledger import Ledger; Ledger.open(sys.argv[1]); "
        "sys.exit('alembic' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    env = inherited(PYTHONPATH=str(root))
    subprocess.run([sys.executable, "-c", code, url], check=True, cwd=root, env=env)


def test_a_ledger_newer_than_the_code_is_left_alone(ledger: Ledger, url: str) -> None:
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(Conflict, match=rf"schema 0999, and this Slipway knows {schema.HEAD}"):
        Ledger.open(url)


def test_a_writer_keeps_readers_from_nothing(ledger: Ledger) -> None:
    release = opened(ledger)
    with ledger.database.write() as connection:
        connection.execute(sa.update(schema.releases).values(reason="half"))
        started = time.monotonic()
        assert ledger.release(release.id) == release
        assert time.monotonic() - started < 1


def test_a_reader_sees_one_moment(ledger: Ledger) -> None:
    count = sa.select(sa.func.count()).select_from(schema.events)
    with ledger.database.read() as connection:
        before = connection.scalar(count)
        writer = threading.Thread(target=ledger.note, args=(an_event(),))
        writer.start()
        writer.join()
        assert connection.scalar(count) == before == 0
    assert len(ledger.events()) == 1


def test_what_fails_in_a_transaction_is_undone(ledger: Ledger) -> None:
    opened(ledger)
    half = sa.update(schema.releases).values(reason="half")
    with pytest.raises(ZeroDivisionError), ledger.database.write() as connection:
        assert connection.execute(half).rowcount / 0
    assert ledger.releases()[0].reason == ""


def test_sqlite_is_set_up_to_be_shared(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.database.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    ledger.close()
    # 2 is FULL: what was committed survives a loss of power.
    assert settings == {
        "journal_mode": "wal",
        "foreign_keys": 1,
        "busy_timeout": 20_000,
        "synchronous": 2,
    }


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///:memory:", "mysql://host/x", "://"])
def test_a_url_that_names_no_ledger_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="ledger"):
        Ledger.open(url)


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"no database")


def test_a_server_that_is_gone_is_unavailable_and_the_password_stays_unsaid() -> None:
    url = f"postgresql://slipway:hunter2@127.0.0.1:{free_port('127.0.0.1')}/slipway"
    with pytest.raises(Unavailable) as failed:
        Ledger.open(url)
    assert "hunter2" not in str(failed.value)
    assert "slipway:***@" in str(failed.value)
