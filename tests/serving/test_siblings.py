"""Whichever gateway is asked, it tells what all of its host count, and which of them does not."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from release.releases import Desired
from serving.gateway import siblings
from serving.gateway.exposition import labelled, merged, standing
from serving.gateway.siblings import Siblings
from tests.serving.conftest import Tiny
from tests.serving.host import Host
from tests.serving.tier import until
from tests.system.home import Home

TEXT = b"""\
# HELP a_total What {is} counted.
# TYPE a_total counter
a_total{endpoint="x {y} 1",outcome="ok"} 3.0
# HELP b_seconds Time.
# TYPE b_seconds histogram
b_seconds_bucket{le="+Inf"} 1.0
b_seconds_count 1.0
# HELP c None of it.
# TYPE c gauge
"""


def test_every_series_bears_its_gateway() -> None:
    assert labelled(TEXT, 'g"1\\').splitlines() == [
        b"# HELP a_total What {is} counted.",
        b"# TYPE a_total counter",
        rb'a_total{gateway="g\"1\\",endpoint="x {y} 1",outcome="ok"} 3.0',
        b"# HELP b_seconds Time.",
        b"# TYPE b_seconds histogram",
        rb'b_seconds_bucket{gateway="g\"1\\",le="+Inf"} 1.0',
        rb'b_seconds_count{gateway="g\"1\\"} 1.0',
        b"# HELP c None of it.",
        b"# TYPE c gauge",
    ]


def test_families_of_several_gateways_stay_together() -> None:
    more = TEXT + b"# HELP d More.\n# TYPE d gauge\nd 7.0\n"
    text = merged((standing({"g1": True, "g2": True}), labelled(TEXT, "g1"), labelled(more, "g2")))
    assert [line.split()[2] for line in text.splitlines() if line.startswith(b"# TYPE")] == [
        *(b"slipway_gateway_up", b"a_total", b"b_seconds", b"c", b"d")
    ]
    samples = [line for line in text.splitlines() if not line.startswith(b"#")]
    assert samples[2:4] == [
        b'a_total{gateway="g1",endpoint="x {y} 1",outcome="ok"} 3.0',
        b'a_total{gateway="g2",endpoint="x {y} 1",outcome="ok"} 3.0',
    ]
    assert samples[-1] == b'd{gateway="g2"} 7.0' and len(samples) == 9


def gathered(folder: Path, *others: str) -> dict[str, float]:
    """Ask a gateway g1 beside whatever lies in a folder; give who is up."""

    async def work() -> bytes:
        asked = Siblings("host/g1", folder / "gateway-g1.sock", lambda: TEXT)
        beside = [
            Siblings(f"host/{one}", folder / f"gateway-{one}.sock", lambda: TEXT) for one in others
        ]
        for one in (asked, *beside):
            await one.listen()
        text = await asked.collect()
        for one in (asked, *beside):
            one.close()
        return text

    return up(asyncio.run(work()).decode())


def up(text: str) -> dict[str, float]:
    return {who: value for (name, who), value in by_gateway(text).items() if name == "gateway_up"}


def by_gateway(text: str) -> dict[tuple[str, str], float]:
    """Each series' name and gateway to the sum of what has no other label told apart."""
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            key = (one.name.removeprefix("slipway_"), one.labels["gateway"])
            found[key] = found.get(key, 0.0) + one.value
    return found


def test_a_socket_that_a_dead_gateway_left_is_told_as_down(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "gateway-g3.metrics"))
    assert gathered(tmp_path, "g2") == {"g1": 1, "g2": 1, "g3": 0}
    assert [one.name for one in tmp_path.iterdir()] == ["gateway-g3.metrics"], "others leave none"


def test_one_that_never_listened_is_told_as_down(tmp_path: Path) -> None:
    (tmp_path / "gateway-g2.metrics").touch()
    assert gathered(tmp_path) == {"g1": 1, "g2": 0}


def test_one_that_is_cut_off_while_it_tells_is_told_as_down(tmp_path: Path) -> None:
    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(labelled(TEXT, "g2"))
        writer.close()

    async def work() -> str:
        server = await asyncio.start_unix_server(cut, str(tmp_path / "gateway-g2.metrics"))
        asked = Siblings("host/g1", tmp_path / "gateway-g1.sock", lambda: TEXT)
        text = await asked.collect()
        server.close()
        return text.decode()

    text = asyncio.run(work())
    assert up(text) == {"g1": 1, "g2": 0}
    assert ("a_total", "g2") not in by_gateway(text)


@pytest.fixture(scope="module")
def wide(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Two gateways on one port."""
    made = Host(Home(tmp_path_factory.mktemp("home")), tiny, SLIPWAY_GATEWAYS="2")
    made.serve(Desired(model="tiny", champion=tiny.variant(1, "onnx-int8")))
    until(made.serves, 60)
    until(lambda: made.status("g1") and made.status("g2"), 30)
    yield made
    made.close()


def scraped(host: Host) -> str:
    """One scrape by a connection of its own: nobody knows which gateway takes it."""
    return httpx.get(f"{host.url}/metrics", timeout=10).text


def test_every_scrape_tells_of_all_gateways(wide: Host) -> None:
    before = by_gateway(scraped(wide))
    for _ in range(20):
        assert wide.answers() == httpx.codes.OK
    texts = [scraped(wide) for _ in range(8)]
    for text in texts:
        families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(families) == len(set(families)), "each family once"
        assert 'gateway="g1"' in text
    found = [by_gateway(text) for text in texts]
    for name in ("requests_total", "calls_recorded_total", "request_duration_seconds_count"):
        told = {tuple(one[name, gateway] for gateway in ("g1", "g2")) for one in found}
        assert len(told) == 1, "no scrape differs from another"
        assert sum(told.pop()) - sum(before.get((name, one), 0) for one in ("g1", "g2")) == 20
    assert all(up(text) == {"g1": 1, "g2": 1} for text in texts)


def test_a_gateway_that_hangs_is_told_as_down_and_costs_the_others_nothing(wide: Host) -> None:
    pid = wide.status("g2")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        asked = Siblings("host/g9", wide.sockets / "gateway-g9.sock", lambda: TEXT)
        started = time.monotonic()
        text = asyncio.run(asked.collect()).decode()
        assert time.monotonic() - started < siblings.ASK_SECONDS + 2
    finally:
        os.kill(pid, signal.SIGCONT)
    assert up(text) == {"g9": 1, "g1": 1, "g2": 0}
    assert ("calls_recorded_total", "g1") in by_gateway(text)
    until(lambda: up(scraped(wide)) == {"g1": 1, "g2": 1}, 10)


def test_a_killed_gateways_counters_begin_anew_and_nobody_elses(wide: Host) -> None:
    for _ in range(20):
        assert wide.answers() == httpx.codes.OK
    before = by_gateway(scraped(wide))
    os.kill(wide.status("g2")["pid"], signal.SIGKILL)
    until(lambda: up(scraped_at_last(wide)).get("g2") == 0, 10)
    until(lambda: up(scraped_at_last(wide)) == {"g1": 1, "g2": 1}, 20)
    after = by_gateway(scraped(wide))
    name = "calls_recorded_total"
    assert after[name, "g1"] == before[name, "g1"]
    assert after[name, "g2"] == 0


def scraped_at_last(host: Host) -> str:
    """A scrape by one that tries again where its connection fell to a gateway that was killed."""
    while True:
        try:
            return scraped(host)
        except httpx.TransportError:
            time.sleep(0.01)


def leave(host: Host) -> tuple[str, int]:
    """Tell a gateway to end, and wait until its successor is being started."""
    name = min(up(scraped(host)))
    pid: int = host.status(name)["pid"]
    os.kill(pid, signal.SIGTERM)
    until(lambda: 0 in up(scraped_at_last(host)).values(), 10)
    return name, pid


def is_missed_by_nobody(host: Host, name: str) -> None:
    found = until(
        lambda: (
            (told := up(scraped_at_last(host)))
            and list(told.values()) == [1, 1]
            and name not in told
            and told
        ),
        30,
    )
    files = {one.name for one in host.sockets.glob("*.metrics")}
    assert files == {f"gateway-{one}.metrics" for one in found}


def test_a_gateway_that_drained_is_missed_by_nobody(wide: Host) -> None:
    name, _ = leave(wide)
    is_missed_by_nobody(wide, name)


def test_a_gateway_that_was_killed_while_it_drained_is_missed_by_nobody(wide: Host) -> None:
    begun = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\n{"
    address = wide.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        # So many that each gateway has one in hand, and does not end before it is killed.
        for _ in range(16):
            line = stack.enter_context(socket.create_connection((address[0], int(address[1]))))
            line.sendall(begun)
        name, pid = leave(wide)
        assert f"gateway-{name}.metrics" in {one.name for one in wide.sockets.iterdir()}
        os.kill(pid, signal.SIGKILL)
    is_missed_by_nobody(wide, name)


def test_what_gateways_of_a_killed_host_left_is_missed_by_nobody(wide: Host) -> None:
    (wide.sockets / "gateway-g7.metrics").touch()
    os.kill(wide.agent.pid, signal.SIGKILL)
    wide.start()
    until(lambda: not (wide.sockets / "gateway-g7.metrics").exists(), 20)
    until(lambda: list(up(scraped_at_last(wide)).values()) == [1, 1], 40)


def scraped_beside(folder: Path, said: bytes | None) -> dict[str, float]:
    """Ask a gateway beside an indexer that says something; nothing at all for None."""

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said or b"")
        writer.close()

    async def work() -> str:
        asked = Siblings("host/g1", folder / "gateway-g1.sock", lambda: TEXT)
        if said is None:
            return (await asked.collect()).decode()
        server = await asyncio.start_unix_server(tell, str(folder / "indexer.sock"))
        text = await asked.collect()
        server.close()
        return text.decode()

    found = {}
    for family in text_string_to_metric_families(asyncio.run(work())):
        for one in family.samples:
            if one.name.startswith("slipway_indexer_"):
                name = one.name.removeprefix("slipway_indexer_")
                found["/".join([name, *one.labels.values()])] = one.value
    return found


def test_the_indexer_of_the_host_is_told_once_whichever_gateway_is_asked(tmp_path: Path) -> None:
    since = time.time() - 50
    said = {
        "folded": 12_345_678,
        "failures": {"fold": 3, "sweep": 0},
        "behind": {"calls": 7, "bytes": 23_456_789, "since": since},
        "troubles": [{"what": "calls are not folded", "why": "It is away.", "since": since}],
        "store": "whatever else",
    }
    found = scraped_beside(tmp_path, json.dumps(said).encode())
    assert 50 <= found.pop("behind_seconds") < 60
    assert found == {
        "up": 1,
        "trouble": 1,
        "folded_calls_total": 12_345_678,
        "failures_total/fold": 3,
        "failures_total/sweep": 0,
        "behind_calls": 7,
        "behind_bytes": 23_456_789,
    }
    said["behind"] = None
    assert "behind_calls" not in scraped_beside(tmp_path, json.dumps(said).encode())
    assert scraped_beside(tmp_path, b"no json") == {"up": 0}
    with socket.socket(socket.AF_UNIX) as left:
        (tmp_path / "indexer.sock").unlink(missing_ok=True)
        left.bind(str(tmp_path / "indexer.sock"))
    assert scraped_beside(tmp_path, None) == {"up": 0}
    (tmp_path / "indexer.sock").unlink()
    assert scraped_beside(tmp_path, None) == {}
