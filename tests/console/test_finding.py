"""Calls are shown and taken by command, and what of them cannot be told is said at its end."""

from pathlib import Path

from tests.fakes.recorded import Journal
from tests.system.home import Home


def test_an_altered_payload_is_said_at_the_end_and_by_the_exit_status(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    journal = Journal(home.house.settings)
    for number in range(53):
        journal.write(f"text {number}", "x", id="mine" if number else "first")
    journal.alter_payload(1)
    out = tmp_path / "calls.jsonl"
    done = home.slipway("calls", "export", "--out", str(out), who="ada", code=1)
    assert f"53 calls are in {out}" in done.stdout and "1 payloads are not what was" in done.stderr
    done = home.slipway("calls", "replay", "--out", str(tmp_path / "s.csv"), who="ada", code=1)
    assert "52 texts are in" in done.stdout and "see slipway calls verify" in done.stderr
    shown = home.slipway("calls", "show", "mine", who="ada").stdout
    assert shown.count("asked: text") == 50
    *_, older = shown.splitlines()
    assert older.startswith("older ones: --below ")
    below = older.rpartition(" ")[2]
    done = home.slipway("calls", "show", "mine", "--below", below, who="ada", code=1)
    assert done.stdout.count("asked: text") == 1
    assert "cannot be told: The payload of call 2 is not the one" in done.stdout
    journal.write("of a tenant", "x", tenant="acme", status=503, id="theirs")
    for asked in (("--tenant", "acme"), ("--status", "503")):
        told = home.slipway("calls", "search", *asked, who="ada").stdout
        assert "theirs" in told and "mine" not in told
    out = tmp_path / "good.jsonl"
    done = home.slipway("calls", "export", "text 7", "--out", str(out), who="ada")
    assert "1 calls are in" in done.stdout and done.stderr == ""
    home.house.ledger.close()


def test_who_says_of_a_call_in_vain_what_was_asked_and_that_nothing_answered(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.people()
    journal = Journal(home.house.settings)
    asked = {"model": "reviews", "endpoint": "reviews", "variant": "torch-fp32"}
    journal.write("fine", "x", "sha256:one", id="good", version=1, **asked)
    failed = {"outcome": "timeout", "status": 504}
    journal.write("late", "x", "sha256:one", id="late", version=1, **failed, **asked)
    journal.write("of before", "x", "sha256:one", id="old", **failed, **asked)
    journal.write("refused", "x", id="none", outcome="refused", status=403, endpoint="reviews")
    for id_, said in (
        ("good", "reviews@1/torch-fp32 answered, as champion"),
        ("late", "nothing answered, it was timeout (504); reviews@1/torch-fp32 was asked"),
        ("old", "nothing answered, it was timeout (504); reviews/torch-fp32 was asked"),
        ("none", "nothing answered, it was refused (403)\n"),
    ):
        assert said in home.slipway("calls", "who", "--id", id_, who="ada").stdout
    assert "call good" in home.slipway("calls", "who", "--endpoint", "reviews", who="ada").stdout
    home.house.ledger.close()
