"""Several replicas of one variant, none of them real, each as bad as can be."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from infra.processes import free_port
from serving.gateway.link import ALONE_SECONDS, MOST_FAILURES
from serving.gateway.pool import MOST_BREAKS, Pool, Standing
from serving.replica.address import Address
from serving.replica.messages import Answer, Classes, Kind
from serving.replica.wire import ReplicaGone, ReplicaProblem
from tests.fakes.bad_replica import LIES, BadReplica
from tests.fakes.wire_replica import Stand, standing, variant

DIGEST = variant(1).digest
EJECTED_SECONDS = 1.2
"""By when a hang must have been noticed, with slack for a loaded machine."""


class Fleet:
    """A pool and the replicas that it balances among."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pool = Pool()
        self.replicas: list[BadReplica] = []
        self.servers: list[asyncio.Server] = []

    async def start(self, *replicas: BadReplica, tcp: bool = False) -> None:
        for replica in replicas:
            self.replicas.append(replica)
            port = free_port("127.0.0.1")
            text = f"tcp://127.0.0.1:{port}" if tcp else str(self.folder / str(len(self.replicas)))
            listen = Address.parse(text).listen(lambda one=replica: one.frames)  # type: ignore[misc]
            self.servers.append(await listen)
            self.addresses = (*getattr(self, "addresses", ()), text)
        self.pool.follow({DIGEST: self.addresses})
        await self.until(lambda: all(one.ready for one in self.standing()))

    def standing(self) -> list[Standing]:
        return self.pool.standing()[DIGEST]

    async def until(self, true: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.005)

    def infer(self, *texts: str, seconds: float = 5.0, wait: bool = True) -> "asyncio.Task[Answer]":
        work = self.pool.infer(DIGEST, list(texts or ("beta",)), seconds, wait=wait)
        return asyncio.create_task(work)

    async def close(self) -> None:
        self.pool.close()
        for server in self.servers:
            server.close()
        for replica in self.replicas:
            replica.frames.close()
        await asyncio.sleep(0.01)


def with_fleet(work: Callable[[Fleet], Awaitable[None]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="slipway-test-") as folder:
            fleet = Fleet(Path(folder))
            try:
                await work(fleet)
            finally:
                await fleet.close()

    asyncio.run(run())


def label(answer: Answer) -> str:
    assert isinstance(answer.found, Classes)
    return answer.found.labels[0]


def replicas(count: int, **how: str) -> list[BadReplica]:
    return [BadReplica(DIGEST, **how) for _ in range(count)]  # type: ignore[arg-type]


def test_a_long_text_keeps_short_ones_away() -> None:
    async def work(fleet: Fleet) -> None:
        one, two = replicas(2)
        one.held = two.held = True
        await fleet.start(one, two)
        tasks = [fleet.infer("word " * 400)]
        await asyncio.sleep(0)
        tasks += [fleet.infer("beta") for _ in range(6)]
        await fleet.until(lambda: len(one.kept) + len(two.kept) == 7)
        assert sorted([len(one.kept), len(two.kept)]) == [1, 6]
        assert sum(one.outstanding for one in fleet.standing()) > 500
        for task in tasks[1:]:
            task.cancel()
        await fleet.until(lambda: len(one.cancelled) + len(two.cancelled) == 6)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert [one.outstanding for one in fleet.standing()] == [0, 0]

    with_fleet(work)


def test_equal_requests_are_shared_equally() -> None:
    async def work(fleet: Fleet) -> None:
        three = replicas(3)
        for one in three:
            one.held = True
        await fleet.start(*three)
        tasks = [fleet.infer("beta") for _ in range(9)]
        await fleet.until(lambda: sum(len(one.kept) for one in three) == 9)
        assert [len(one.kept) for one in three] == [3, 3, 3]
        for one in three:
            one.let_go()
        assert {label(await task) for task in tasks} == {"beta"}
        for _ in range(3):
            await fleet.infer("beta")
        assert [len(one.asked) for one in three] == [4, 4, 4]

    with_fleet(work)


def test_what_a_broken_replica_owed_is_asked_elsewhere() -> None:
    async def work(fleet: Fleet) -> None:
        one, two = replicas(2)
        one.held = two.held = True
        await fleet.start(one, two)
        tasks = [fleet.infer("beta") for _ in range(8)]
        await fleet.until(lambda: len(one.kept) == len(two.kept) == 4)
        two.let_go()
        one.frames.close()
        assert {label(await task) for task in tasks} == {"beta"}
        assert len(two.asked) == 8

    with_fleet(work)


@pytest.mark.parametrize("lie", LIES)
def test_what_can_be_no_answer_is_never_passed_on(lie: str) -> None:
    async def work(fleet: Fleet) -> None:
        liar, good = BadReplica(DIGEST, lies=lie), BadReplica(DIGEST)
        await fleet.start(liar, good)
        for _ in range(20):
            assert label(await fleet.infer("beta")) == "beta"
        assert len(liar.asked) == 1
        await fleet.until(lambda: fleet.standing()[0].trouble)
        # It says that it is ready, so it is tried again; each time it rests longer.
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert label(await fleet.infer("beta")) == "beta"
            await asyncio.sleep(0.002)
        assert 1 < len(liar.asked) <= 5
        liar.lies = ""
        await fleet.until(lambda: fleet.standing()[0].ready)

    with_fleet(work)


def test_nothing_but_lies_is_no_answer_either() -> None:
    async def work(fleet: Fleet) -> None:
        await fleet.start(*replicas(2, lies="no number"))
        with pytest.raises((ReplicaGone, TimeoutError)):
            await fleet.infer("beta", seconds=1.0)

    with_fleet(work)


def test_a_replica_that_hangs_is_ejected_within_a_second() -> None:
    async def work(fleet: Fleet) -> None:
        one, two = replicas(2)
        await fleet.start(one, two)
        await asyncio.sleep(0.3)
        one.hung = True
        began = time.monotonic()
        tasks = [fleet.infer("beta") for _ in range(4)]
        assert {label(await task) for task in tasks} == {"beta"}
        assert time.monotonic() - began < EJECTED_SECONDS
        assert [one.ready for one in fleet.standing()] == [False, True]
        assert "said nothing for 0.75 s" in fleet.standing()[0].trouble
        assert len(one.cancelled) == 2
        one.let_go()
        await fleet.until(lambda: fleet.standing()[0].ready, 3)
        assert fleet.standing()[0].trouble

    with_fleet(work)


def test_one_that_owes_nothing_but_a_ping_is_ejected_too() -> None:
    async def work(fleet: Fleet) -> None:
        one, two = replicas(2)
        await fleet.start(one, two)
        one.hung = True
        began = time.monotonic()
        await fleet.until(lambda: not fleet.standing()[0].ready)
        assert time.monotonic() - began < EJECTED_SECONDS

    with_fleet(work)


def test_what_the_only_replica_owes_may_still_come() -> None:
    async def work(fleet: Fleet) -> None:
        (one,) = replicas(1)
        await fleet.start(one)
        one.hung = True
        owed = fleet.infer("beta")
        await fleet.until(lambda: not fleet.standing()[0].ready)
        later = fleet.infer("alpha")
        with pytest.raises(ReplicaGone, match="No replica of this variant is ready"):
            await fleet.infer("beta", wait=False)
        one.let_go()
        assert label(await owed) == "beta"
        assert label(await later) == "alpha"

    with_fleet(work)


def test_a_full_replica_is_passed_by() -> None:
    async def work(fleet: Fleet) -> None:
        full, other = BadReplica(DIGEST, Kind.OVERLOADED), BadReplica(DIGEST)
        full.wait, other.wait = 7.5, 2.25
        await fleet.start(full, other)
        assert {label(await fleet.infer("beta")) for _ in range(4)} == {"beta"}
        other.fails = Kind.OVERLOADED
        with pytest.raises(ReplicaProblem) as caught:
            await fleet.infer("beta")
        assert (caught.value.kind, caught.value.wait_seconds) == (Kind.OVERLOADED, 2.25)
        assert all(one.ready for one in fleet.standing())

    with_fleet(work)


def test_one_that_is_stopping_is_left_and_asked_again_later() -> None:
    async def work(fleet: Fleet) -> None:
        stopping, other = BadReplica(DIGEST, Kind.NOT_READY), BadReplica(DIGEST)
        await fleet.start(stopping, other)
        assert {label(await fleet.infer("beta")) for _ in range(4)} == {"beta"}
        assert len(stopping.asked) == 1
        stopping.fails = None
        await fleet.until(lambda: fleet.standing()[0].ready)

    with_fleet(work)


def test_a_replica_that_only_fails_does_not_draw_everybody() -> None:
    async def work(fleet: Fleet) -> None:
        failing, good = BadReplica(DIGEST, Kind.INTERNAL), BadReplica(DIGEST)
        good.held = True
        await fleet.start(failing, good)
        owed = fleet.infer("beta" * 400)
        while not good.kept:
            with suppress(ReplicaProblem):
                await fleet.infer("beta")
        for _ in range(MOST_FAILURES):
            with suppress(ReplicaProblem, TimeoutError):
                await fleet.infer("beta", seconds=0.05)
        assert [one.ready for one in fleet.standing()] == [False, True]
        assert "failed 5 times in a row" in fleet.standing()[0].trouble
        good.let_go()
        failing.fails = None
        assert label(await owed) == "beta"
        await fleet.until(lambda: fleet.standing()[0].ready)

    with_fleet(work)


def test_the_last_replica_is_asked_however_it_fails() -> None:
    async def work(fleet: Fleet) -> None:
        await fleet.start(BadReplica(DIGEST, Kind.INTERNAL))
        for _ in range(2 * MOST_FAILURES):
            with pytest.raises(ReplicaProblem):
                await fleet.infer("beta")
        assert fleet.standing()[0].ready

    with_fleet(work)


def test_a_request_that_breaks_replicas_does_not_break_them_all() -> None:
    async def work(fleet: Fleet) -> None:
        five = replicas(5)
        for one in five:
            one.drops = True
        await fleet.start(*five)
        with pytest.raises(ReplicaGone):
            await fleet.infer("beta")
        assert sum(one.ready for one in fleet.standing()) == 5 - MOST_BREAKS

    with_fleet(work)


def test_whoever_waits_for_a_variant_that_is_dropped_learns_it() -> None:
    async def work(fleet: Fleet) -> None:
        (one,) = replicas(1)
        await fleet.start(one)
        fleet.servers[0].close()
        one.frames.close()
        await fleet.until(lambda: not fleet.standing()[0].ready)
        waiting = fleet.infer("beta")
        await asyncio.sleep(0.05)
        fleet.pool.follow({})
        with pytest.raises(ReplicaGone):
            await asyncio.wait_for(waiting, 1)

    with_fleet(work)


def test_replicas_may_be_beyond_this_host() -> None:
    async def work(fleet: Fleet) -> None:
        await fleet.start(*replicas(2), tcp=True)
        assert label(await fleet.infer("beta")) == "beta"

    with_fleet(work)


def test_numbers_are_few_and_kept() -> None:
    async def work(fleet: Fleet) -> None:
        await fleet.start(*replicas(3))
        first, second, third = fleet.addresses
        fleet.pool.follow({DIGEST: (second, third)})
        assert [one.number for one in fleet.standing()] == [2, 3]
        fleet.pool.follow({DIGEST: (second, third, first)})
        assert [one.number for one in fleet.standing()] == [1, 2, 3]

    with_fleet(work)


def test_a_full_variant_says_when_to_come_back() -> None:
    async def work(stand: Stand) -> None:
        replica = await bad(stand)
        replica.fails, replica.wait = Kind.OVERLOADED, 2.25
        answer = await stand.client.post("/predict/tiny", json={"text": "beta"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")

    in_stand(work)


def test_a_request_whose_arm_leaves_the_routes_goes_the_new_way() -> None:
    async def work(stand: Stand) -> None:
        replica = await bad(stand)
        del stand.replicas[variant(1).digest]
        replica.held = True
        asking = asyncio.create_task(stand.client.post("/predict/tiny", json={"text": "beta"}))
        while not replica.kept:
            await asyncio.sleep(0.005)
        await stand.serve(variant(2), generation=2)
        replica.frames.close()
        answer = await asking
        assert (answer.status_code, answer.headers["x-slipway-version"]) == (200, "2")
        assert answer.headers["x-slipway-generation"] == "2"

    in_stand(work)


async def bad(stand: Stand) -> BadReplica:
    """Serve the first version, with a replica that can be told to be bad."""
    replica = stand.replicas[DIGEST] = BadReplica(DIGEST)
    path = str(stand.folder / DIGEST[-6:])
    stand._servers.append(await Address.parse(path).listen(lambda: replica.frames))
    await stand.serve(variant(1))
    return replica


def in_stand(work: Callable[[Stand], Awaitable[None]]) -> None:
    async def run() -> None:
        async with standing() as stand:
            await work(stand)

    asyncio.run(run())


def test_an_answer_that_crosses_with_its_cancelling_spoils_nothing() -> None:
    async def work(fleet: Fleet) -> None:
        (one,) = replicas(1)
        await fleet.start(one)
        for _ in range(50):
            task = fleet.infer("beta")
            while not one.asked:
                await asyncio.sleep(0)
            one.asked.clear()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert fleet.standing()[0].ready
        assert fleet.standing()[0].trouble == ""

    with_fleet(work)


def test_what_a_hung_replica_owed_when_it_left_the_routes_is_given_up() -> None:
    async def work(fleet: Fleet) -> None:
        (one,) = replicas(1)
        await fleet.start(one)
        one.hung = True
        task = fleet.infer("beta", seconds=20)
        await fleet.until(lambda: one.kept)
        fleet.pool.follow({})
        with pytest.raises(ReplicaGone, match="said nothing"):
            await asyncio.wait_for(task, 2 * ALONE_SECONDS + 2)

    with_fleet(work)


def test_what_a_slow_replica_owes_when_it_leaves_the_routes_is_waited_for() -> None:
    async def work(fleet: Fleet) -> None:
        (one,) = replicas(1)
        await fleet.start(one)
        one.held = True
        task = fleet.infer("beta", seconds=20)
        await fleet.until(lambda: one.kept)
        fleet.pool.follow({})
        await asyncio.sleep(ALONE_SECONDS + 0.5)
        one.let_go()
        assert label(await task) == "beta"

    with_fleet(work)


def test_an_address_that_nobody_can_look_up_is_tried_again() -> None:
    async def work(fleet: Fleet) -> None:
        fleet.pool.follow({DIGEST: (f"tcp://{'x' * 70}.example:7000",)})
        await fleet.until(lambda: "Unicode" in fleet.standing()[0].trouble)
        (link,) = fleet.pool._groups[DIGEST].links.values()
        await asyncio.sleep(0.2)
        assert not link._keeper.done()

    with_fleet(work)


def test_a_replica_that_ends_leaves_its_successors_socket_alone(tmp_path: Path) -> None:
    async def run() -> None:
        address = Address.parse(str(tmp_path / "s"))
        servers = [await address.listen(asyncio.Protocol)]
        old = address.mark()
        servers.append(await address.listen(asyncio.Protocol))
        address.forget(old)
        assert (tmp_path / "s").exists()
        address.forget(address.mark())
        assert not (tmp_path / "s").exists()
        for one in servers:
            one.close()

    asyncio.run(run())


def test_a_snapshot_of_before_has_one_address_a_variant(tmp_path: Path) -> None:
    from serving.gateway.snapshot import NAME, Snapshot

    (tmp_path / NAME).write_text('{"number": 3, "routes": {}, "replicas": {"d": "/run/d.sock"}}')
    found = Snapshot.load(tmp_path)
    assert found is not None and found.replicas == {"d": ("/run/d.sock",)}
    found.save(tmp_path)
    assert Snapshot.load(tmp_path) == found
