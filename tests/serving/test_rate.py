"""How much an endpoint is asked, from a real journal."""

from pathlib import Path

import pytest

from serving.journal import JournalWriter
from serving.rate import LATELY_SECONDS, request_rate
from tests.fakes.call_lines import a_call

NOW = 10_000.0


def journal(
    monkeypatch: pytest.MonkeyPatch, root: Path, gateway: str, at: list[float], each: int
) -> None:
    """Let a gateway close a window at each of these moments, with so many requests."""
    clock = at[0] - 1
    monkeypatch.setattr("serving.journal.time.time", lambda: clock)
    writer = JournalWriter(root, gateway)
    for clock in at:
        for _ in range(each):
            writer.write(a_call(writer.sequence + 1, at=clock, endpoint="mine", digest="sha256:a"))
        writer.close_window()
    writer.close()


def test_the_rate_is_that_of_the_last_minute_over_all_gateways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [NOW - n for n in range(600, 0, -1)]
    journal(monkeypatch, tmp_path, "g1", seconds, 20)
    assert request_rate(tmp_path, "mine", NOW) == pytest.approx(20, rel=0.05)
    journal(monkeypatch, tmp_path, "g2", seconds, 5)
    assert request_rate(tmp_path, "mine", NOW) == pytest.approx(25, rel=0.05)


def test_after_a_long_silence_only_what_flows_now_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(monkeypatch, tmp_path, "g1", [NOW - 900, *(NOW - n for n in range(5, 0, -1))], 30)
    assert request_rate(tmp_path, "mine", NOW) == pytest.approx(30, rel=0.3)


def test_a_single_request_is_one_since_the_silence_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal(monkeypatch, tmp_path, "g1", [NOW - 900, NOW - 1], 1)
    assert request_rate(tmp_path, "mine", NOW) == pytest.approx(1 / LATELY_SECONDS)


def test_where_nobody_asked_lately_the_rate_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert request_rate(tmp_path / "none", "mine", NOW) is None
    journal(monkeypatch, tmp_path, "g1", [NOW - LATELY_SECONDS - 1], 30)
    assert request_rate(tmp_path, "mine", NOW) is None
    journal(monkeypatch, tmp_path, "g2", [NOW - 2, NOW - 1], 30)
    assert request_rate(tmp_path, "mine", NOW) is not None
    assert request_rate(tmp_path, "another", NOW) is None
