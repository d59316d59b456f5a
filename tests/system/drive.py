"""Run flows in this process: `python -m tests.system.drive '[["release", {"model": …}], …]'`."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from flows.reconcile import reconcile
from flows.release import release
from flows.retrain import retrain
from flows.rollback import rollback
from flows.rollout import rollout

FLOWS: Mapping[str, Callable[..., Any]] = {
    "release": release,
    "retrain": retrain,
    "rollout": rollout,
    "reconcile": reconcile,
    "rollback": rollback,
}

if __name__ == "__main__":
    for name, parameters in json.loads(sys.argv[1]):
        sys.stdout.write(f"{FLOWS[name](**parameters)}\n")
