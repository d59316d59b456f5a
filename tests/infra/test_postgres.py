"""The tests' own PostgreSQL ends whatever the tests have left behind."""

import os
import signal
import time

import psycopg

from tests.infra import postgres


def test_neither_an_open_connection_nor_one_that_stands_still_holds_up_its_end() -> None:
    postgres.skip_without()
    with postgres.server() as url:
        left = psycopg.connect(f"{url}/postgres")
        still = psycopg.connect(f"{url}/postgres")
        os.kill(still.info.backend_pid, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < 15, "an orderly end waits for 30 s, and then for ever"
    left.close()
    still.close()
