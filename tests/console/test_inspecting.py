"""`slipway calls inspect` as people run it, where the extra presidio is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from infra.calls.checkpoints import Signer
from tests.fakes.recorded import Journal
from tests.system.home import Home

INSTALLED = find_spec("presidio_analyzer") is not None
"""Asked without importing it, which takes seconds."""


def test_who_may_not_inspect_or_erase_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    said = home.slipway("calls", "inspect", who="rita", code=2).stderr
    assert "rita is requester and may not read the call record" in said
    token = home.slipway("identity", "add", "uma", "--role", "auditor", who="ada").stdout
    home.tokens["uma"] = token.strip()
    erasing = ("calls", "inspect", "--erase", "--why", "redaction missed it")
    assert "may not erase payloads" in home.slipway(*erasing, who="uma", code=2).stderr
    assert "An erasure needs a reason" in home.slipway(*erasing[:3], who="ada", code=2).stderr
    home.house.ledger.close()


@pytest.mark.skipif(not INSTALLED, reason="the extra presidio is not installed")
def test_what_redaction_missed_is_found_erased_and_proven_by_command(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.people()
    Signer(home.house.settings.calls_secrets)  # as a gateway does that starts
    journal = Journal(home.house.settings)
    for text in (
        "My name is Ann Miller, where is my order?",
        "收件人：王小明，车牌京A12345",
        "wire it to DE89370400440532013000",
        "明天的天气很好，气温二十度",
        "the answer came at 10:30 on 2026-11-26",
    ):
        journal.write(text, "shipping", capture="redacted")
    journal.write("My name is Bob Miller", "shipping", capture="full")

    found = home.slipway("calls", "inspect", who="ada", code=1)
    lines = found.stdout.splitlines()
    assert [line.partition(": ")[2] for line in lines[:-1]] == [
        "1 PERSON",
        "1 PERSON, 1 PLATE",
        "1 IBAN_CODE",
    ]
    assert lines[-1] == "5 payloads inspected, 3 tell of a person"
    assert found.stderr == "" and "Miller" not in found.stdout

    said = home.slipway("calls", "inspect", "--namespace", "defualt", who="ada", code=2).stderr
    assert "did you mean 'default'?" in said
    erasing = ("calls", "inspect", "--erase", "--why", "redaction missed it")
    assert home.slipway(*erasing, who="ada").stdout.endswith("\n3 payloads are erased\n")
    left = home.slipway("calls", "inspect", who="ada").stdout
    assert left == "2 payloads inspected, 0 tell of a person\n"
    proven = home.slipway("calls", "verify").stdout
    assert "3 payloads are erased, as recorded" in proven
    home.house.ledger.close()
