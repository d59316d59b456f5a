"""Calls are shown and taken by command, and what of them cannot be told is said at its end."""

import json
import re
from pathlib import Path

import pytest

from console.finding import moment, moment_after
from infra.calls.lines import Share
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


def test_a_call_is_shown_as_people_and_machines_can_read_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    journal = Journal(home.house.settings)
    journal.write("older", "x", id="again")
    counted = (Share(digest="d1", requests=1),)
    journal.write("a\\x07b\x07", "x\\y", "sha256:one", id="again", counted=counted, user="a\\n")
    shown = home.slipway("calls", "show", "again", who="ada").stdout.splitlines()
    newest = shown[: shown.index("asked: older")]
    assert newest[0] == "at (UTC): 2026-09-21 14:13:20.000" and "at_us" not in "".join(shown)
    assert r"asked: a\\x07b\x07" in newest and r"user: a\\n" in newest
    (told,) = [one for one in newest if one.startswith("counted: ")]
    assert json.loads(told.partition(" ")[2])[0]["digest"] == "d1"
    (told,) = [one for one in newest if one.startswith("answered: ")]
    assert json.loads(told.partition(" ")[2])["label"] == "x\\y"
    assert not any(one.startswith("counted") for one in shown[len(newest) :])
    said = home.slipway("calls", "who", "--id", "again", who="ada").stdout
    assert "older calls have this id as well" in said
    home.house.ledger.close()


def test_the_moment_that_search_tells_leads_back_to_its_call(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    journal = Journal(home.house.settings)
    at = 1_790_000_000
    for id_, after in (("before", 0.0), ("it", 0.454999), ("just-after", 0.455), ("later", 1.0)):
        journal.write("a", "x", "sha256:one", id=id_, at=at + after, version=1)
    told = home.slipway("calls", "search", who="ada").stdout
    (line,) = [one for one in told.splitlines() if " it " in one]
    (printed,) = re.findall(r"\d{4}-\S+ \S+\.454\b", line)
    assert "call it " in home.slipway("calls", "who", "--at", printed, who="ada").stdout
    second = printed.partition(".")[0]
    assert "call just-after " in home.slipway("calls", "who", "--at", second, who="ada").stdout
    since = home.slipway("calls", "search", "--since", printed, who="ada").stdout
    assert " it " in since and " before " not in since
    until = home.slipway("calls", "search", "--until", printed, who="ada").stdout
    assert " it " not in until and " before " in until
    home.house.ledger.close()


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        *(("2026-11-26", 86_400.0), ("20261126", 86_400.0), ("2026-W48-4", 86_400.0)),
        *(("2026-11-26T08", 3_600.0), ("2026-11-26 08:30", 60.0), ("20261126T0830Z", 60.0)),
        *(("2026-11-26T08:30:20", 1.0), ("2026-11-26T08:30:20+01:00", 1.0)),
        *(("2026-11-26 08:30:20.454", 1e-3), ("2026-11-26T08:30:20,454-05:30", 1e-3)),
        *(("2026-11-26T08:30:20.454123", 1e-6), ("2026-11-26T08:30:20.454123Z", 1e-6)),
    ],
)
def test_a_moment_covers_all_that_was_not_written_of_it(given: str, seconds: float) -> None:
    begins, ends = moment(given), moment_after(given)
    assert begins is not None and ends is not None and ends - begins == round(seconds * 1e6)
