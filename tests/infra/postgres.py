"""A PostgreSQL server of our own, on a free port, gone when the tests are."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from infra.processes import free_port
from infra.settings import inherited

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def skip_without() -> None:
    """Skip a test that needs a server where none is installed, which in CI is a failure."""
    if INSTALLED:
        return
    said = "PostgreSQL is not installed"
    if inherited().get("CI"):
        pytest.fail(said)
    pytest.skip(said)


@contextmanager
def server(*, fsync: bool = False, **settings: str) -> Iterator[str]:
    """Start one; give its URL without a database's name.

    Args:
        fsync: whether it waits for the disk, which only what is measured needs.
        settings: what is not as it is by default.
    """
    programs = INSTALLED[-1].parent
    # Not under pytest's own folder, into which another user may not look.
    home = Path(tempfile.mkdtemp(prefix="slipway-pg-"))
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        owner = pwd.getpwnam(user)
        os.chown(home, owner.pw_uid, owner.pw_gid)
    port = free_port("127.0.0.1")
    command = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "slipway", "-A", "trust"]
    subprocess.run(
        [*command, "--no-sync", "-E", "UTF8"], check=True, stdout=subprocess.DEVNULL, user=user
    )
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "fsync": "on" if fsync else "off",
        **settings,
    }
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(home / "data"), "-k", str(home), *flags],
            stdout=log,
            stderr=log,
            user=user,
        )
    try:
        url = f"postgresql://slipway@127.0.0.1:{port}"
        wait_for(url)
        yield url
    finally:
        # At once: told to end otherwise, it waits for whoever left a connection open.
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(home)


def wait_for(url: str) -> None:
    engine = _engine(url)
    deadline = time.monotonic() + 30
    while True:
        try:
            engine.connect().close()
        except exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            engine.dispose()
            return


def create_database(url: str, name: str) -> str:
    """Create a database on a server; give its URL."""
    engine = _engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return f"{url}/{name}"


def shut(url: str, name: str, *, shut: bool) -> None:
    """Let nobody into a database, and end who is there; or let everybody in again."""
    engine = _engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not shut}")
        if shut:
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            connection.exec_driver_sql(f"{end}'{name}'")
    engine.dispose()


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(f"{url}/postgres").set(drivername="postgresql+psycopg")
    return sa.create_engine(parsed, isolation_level="AUTOCOMMIT")
