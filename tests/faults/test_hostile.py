"""Twenty thousand malformed requests: no fault of the server, one process, bounded memory."""

import sys
from pathlib import Path

import pytest

from tests.faults.hostile import attack, schemathesis
from tests.serving.test_clients import PYTHON, asked
from tests.serving.tier import Tier

__all__ = ["asked"]

WARM_UP = 1_000
REQUESTS = 15_000
EXAMPLES = 200
"""Of schemathesis, for each address."""

GROWTH = 48 * 2**20
"""Bytes that a gateway may grow by, which are mostly the allocator's: a leak of a body each, or of
4 KiB a request, would be more."""


# Hypothesis writes down what failed, however long it is.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.timeout(1800)
def test_twenty_thousand_malformed_requests_hurt_nobody(asked: Tier, tmp_path: Path) -> None:
    warm = attack(asked, WARM_UP)
    before = warm.memory()
    here = attack(asked, REQUESTS)
    by_schemathesis = schemathesis(PYTHON.with_name("st"), asked, tmp_path, EXAMPLES)
    here.alive()
    grown, sent = here.memory() - before, warm.sent + here.sent + by_schemathesis
    said = f"{sent} sent; {before} bytes grew by {grown}; answered {here.answers}\n"
    sys.stdout.write(said)
    assert grown <= GROWTH
    assert sent >= 20_000
