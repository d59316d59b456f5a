"""The example: its scripts, run in processes of their own, and what it puts into a home."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.control import PROJECT
from infra.files import write_atomic
from infra.settings import Settings, inherited
from release.errors import Unavailable
from release.training import read_progress

EXAMPLE = PROJECT / "examples" / "docs_router"

_KEPT = {
    "policy.toml": "policies/docs-router.toml",
    "kind-policy.toml": "policies/docs-kind.toml",
    "training.toml": "trainings/docs-router.toml",
}

Told = Callable[[float, str], None]
"""Is given how much is done, within 0..1, and words."""


def furnish(settings: Settings) -> None:
    """Put the example's policies and its training where a home keeps them."""
    for name, kept in _KEPT.items():
        text = (EXAMPLE / name).read_text(encoding="utf-8")
        # The program stays where its code is versioned; only its description is copied.
        program = json.dumps(str(EXAMPLE / "train.py"), ensure_ascii=False)
        write_atomic(settings.root / kept, text.replace('"train.py"', program).encode())


@dataclass(slots=True, kw_only=True)
class Scripts:
    """Runs scripts in a home, and knows which run now."""

    settings: Settings
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, script: str, *arguments: str, told: Told = lambda *_: None) -> Mapping[str, Any]:
        """Run a script to its end.

        Returns:
            Its last line, which is JSON.

        Raises:
            Unavailable: it failed; says where its words are.
        """
        command = [sys.executable, str(EXAMPLE / script), *arguments]
        env = inherited(
            MLFLOW_TRACKING_URI=self.settings.registry,
            MLFLOW_DISABLE_TELEMETRY="true",
            SLIPWAY_ARTIFACTS=str(self.settings.artifacts),
            HF_HUB_OFFLINE="1",
            OMP_NUM_THREADS="1",
        )
        last = ""
        log = self.settings.logs / f"{Path(script).stem}.log"
        log.parent.mkdir(exist_ok=True)
        with (
            log.open("a", encoding="utf-8") as errors,
            subprocess.Popen(
                command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            self.running.append(process)
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                last = line.strip() or last
                if moved := read_progress(line):
                    told(*moved)
        self.running.remove(process)
        if process.returncode:
            raise Unavailable(f"{script} failed with code {process.returncode}.", f"see {log}")
        facts: Mapping[str, Any] = json.loads(last)
        return facts

    def stop(self) -> None:
        """End those that run."""
        for process in self.running:
            process.terminate()
