"""No two homes have one host's name, and none is kept from its own."""

from threading import Barrier, Thread

from infra.ledger import Ledger
from infra.ledger.hosts import GONE_SECONDS
from release.releases import GatewayStatus

NOW = 1_790_000_000.0


def test_a_name_is_of_the_home_that_took_it_first(ledger: Ledger) -> None:
    assert ledger.take_name("web1", "a", NOW) is None
    assert ledger.take_name("web2", "b", NOW) is None
    assert ledger.take_name("web1", "b", NOW + 60) == NOW
    # Its own home may come back at any time, and what was refused took nothing from it.
    assert ledger.take_name("web1", "a", NOW + 90) is None
    assert ledger.take_name("web1", "b", NOW + 120) == NOW + 90


def test_a_home_that_was_not_heard_of_for_long_keeps_its_name_from_none(ledger: Ledger) -> None:
    ledger.take_name("web1", "a", NOW)
    status = GatewayStatus(gateway="web1/g1", endpoint="docs", generation=1, at=NOW + 500)
    other = GatewayStatus(gateway="web2/g1", endpoint="docs", generation=1, at=NOW + 900)
    ledger.observe([status], [], "web1")
    ledger.observe([other], [], "web2")
    late = NOW + 500 + GONE_SECONDS
    assert ledger.take_name("web1", "b", late - 1) == NOW + 500
    assert ledger.take_name("web1", "b", late) is None
    assert ledger.take_name("web1", "a", late + 1) == late


def test_of_homes_that_come_at_once_one_has_the_name(url: str) -> None:
    homes, barrier, found = [f"home{n}" for n in range(4)], Barrier(4), dict[str, float | None]()
    Ledger.open(url).close()

    def come(home: str) -> None:
        ledger = Ledger.open(url)
        barrier.wait()
        found[home] = ledger.take_name("web1", home, NOW)
        ledger.close()

    threads = [Thread(target=come, args=(home,)) for home in homes]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(found.values(), key=str) == [NOW, NOW, NOW, None]
