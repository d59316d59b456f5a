"""Bring a model of one's own: a suite out of a table, a registered version, a first policy."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.making import make_suite
from evaluation.suites import load_suite
from evaluation.tables import Columns, read_table
from infra.files import write_atomic
from release.errors import Conflict, Invalid
from release.policy import Policy
from release.reports import HEADLINES
from release.variants import Candidate, Task
from release.wording import tame
from serving.variants.facts import read_facts
from serving.variants.intake import check_files
from tasks.wiring import house


def suite(
    table: Path, folder: Path, columns: Columns, *, train: float, also: Sequence[str] = ()
) -> None:
    """Make a suite out of a table, and say what was left out."""
    found = read_table(table, columns)
    made = make_suite(found, folder, train=train, also=also)
    sizes = ", ".join(f"{split} {len(some)}" for split, some in made.splits.items())
    labels = f"; labels {', '.join(made.labels)}" if made.labels else ""
    sys.stdout.write(tame(f"{folder}: {sizes}{labels}") + "\n")
    for said in found.left_out:
        sys.stdout.write(f"  left out: {tame(said)}\n")


def register(model: str, folder: Path) -> None:
    """Check a folder of files and register it as a model's next version."""
    if not folder.is_dir():
        raise Invalid(f"{folder} is no folder.", "give the one with config.json")
    Candidate(model=model, version=1)
    check_files(folder)
    facts = read_facts(folder)
    made = house().registry.register(model, folder)
    labels = f"{len(facts.labels)} labels, " if facts.labels else ""
    sys.stdout.write(f"{made.ref}: {facts.task}, {labels}at most {facts.longest_input} tokens\n")


def policy(
    model: str, suite_folder: Path, least: Mapping[str, float | None], *, show: bool
) -> None:
    """Write a first policy for a model, to be looked at and changed.

    Args:
        model: registered name; its first version may be yet to come.
        suite_folder: of the suite, whose task decides on what the gates are.
        least: metric to the least that is wanted of it; None where nothing was said.
        show: print it and write nothing.
    """
    Candidate(model=model, version=1)
    made = load_suite(suite_folder.resolve())
    metric, value = _least(made.task, least)
    text = _FIRST.format(
        model=model,
        suite=_quoted(suite_folder.resolve()),
        metric=metric,
        least=value,
    )
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


def _least(task: Task, least: Mapping[str, float | None]) -> tuple[str, float]:
    """Give the metric of a task, and the least that is wanted of it."""
    metric = HEADLINES[task]
    given = {name: value for name, value in least.items() if value is not None}
    for name in given:
        if name != metric:
            raise Invalid(
                f"No suite of {task} measures {name!r}.",
                f"give --{metric.replace('_', '-')}",
            )
    return metric, given.get(metric, 0.5)


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


_FIRST = """\
# What a release of {model} must show. Shares in percent, times in seconds, rates within 0..1.

[suite]
path = "{suite}"

[variants]
build = ["torch-fp32", "openvino-int8"]   # the one that passes and answers most texts a second

[[gates]]
metric = "{metric}"
at_least = {least:g}            # the lower end of the 95 % interval must reach it

[[gates]]
metric = "{metric}"
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
