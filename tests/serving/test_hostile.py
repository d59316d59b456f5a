"""Some hundred malformed requests; tests/faults sends the thousands."""

from pathlib import Path

import pytest

from tests.faults.hostile import attack
from tests.serving.tier import three_tasks


# Hypothesis writes down what failed, however long it is.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_malformed_requests_are_refused_and_hurt_nobody(tmp_path: Path) -> None:
    tier = three_tasks(tmp_path)
    try:
        here = attack(tier, 500)
        assert here.sent >= 500
        assert {"200", "400", "404", "INVALID_ARGUMENT"} <= here.answers.keys()
    finally:
        tier.stop()
