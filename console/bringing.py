"""Bring a model of one's own: a suite out of a table, a registered version, a first policy."""

import sys
from pathlib import Path

from evaluation.making import make_suite
from evaluation.suites import load_suite
from evaluation.tables import Columns, read_table
from infra.files import write_atomic
from release.errors import Conflict, Invalid
from release.policy import Policy
from release.variants import Candidate
from serving.variants.intake import check_files, read_facts
from tasks.wiring import house


def suite(table: Path, folder: Path, columns: Columns, *, train: float) -> None:
    """Make a suite out of a table, and say what was left out."""
    found = read_table(table, columns)
    made = make_suite(found, folder, train=train)
    sizes = ", ".join(f"{split} {len(some)}" for split, some in made.splits.items())
    sys.stdout.write(f"{folder}: {sizes}; labels {', '.join(made.labels)}\n")
    for said in found.left_out:
        sys.stdout.write(f"  left out: {said}\n")


def register(model: str, folder: Path) -> None:
    """Check a folder of files and register it as a model's next version."""
    if not folder.is_dir():
        raise Invalid(f"{folder} is no folder.", "give the one with config.json")
    Candidate(model=model, version=1)
    check_files(folder)
    facts = read_facts(folder)
    made = house().registry.register(model, folder)
    sys.stdout.write(
        f"{made.ref}: {facts.task}, {len(facts.labels)} labels, "
        f"at most {facts.longest_input} tokens\n"
    )


def policy(model: str, suite_folder: Path, accuracy: float, *, show: bool) -> None:
    """Write a first policy for a model, to be looked at and changed."""
    Candidate(model=model, version=1)
    load_suite(suite_folder.resolve())
    text = _FIRST.format(model=model, suite=_quoted(suite_folder.resolve()), accuracy=accuracy)
    Policy.parse(text)
    if show:
        sys.stdout.write(text)
        return
    path = house().settings.root / "policies" / f"{model}.toml"
    if path.exists():
        raise Conflict(f"{path} exists.", "change it, or look at a new one with --show")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
    sys.stdout.write(f"{path}\n")


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


_FIRST = """\
# What a release of {model} must show. Shares in percent, times in seconds, rates within 0..1.

[suite]
path = "{suite}"

[variants]
build = ["torch-fp32", "openvino-int8"]   # the one that passes and answers most texts a second

[[gates]]
metric = "accuracy"
at_least = {accuracy:g}            # the lower end of the 95 % interval must reach it

[[gates]]
metric = "accuracy"
max_regression = 0.03              # less the champion's; not asked of a first release

[[gates]]
metric = "latency_p99_ms"
at_most = 1000

[approval]
count = 1
roles = ["release-manager"]
valid_hours = 24

[plan]
steps = [
  {{share = 5, soak_seconds = 5, least_requests = 20}},
  {{share = 25, soak_seconds = 5, least_requests = 20}},
  {{share = 100, soak_seconds = 5, least_requests = 20}},
]
bake_seconds = 15
patience_seconds = 3600            # how long a step may wait for evidence

[live]
worse_by = 0.05                    # proven worse than the champion by more than this: put back
harm_budget = 0.06                 # widen only if it costs no more of all requests at worst
"""
