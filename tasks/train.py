"""Run a user's own training, and take what it registers. No Prefect.

Killed anywhere and run again, a training gives one version and one `trained` event: first it is
made sure that nothing of an earlier attempt lives; if the newest was seen to end well, its version
is taken, and only otherwise is the entrypoint run again.
"""

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.failpoints import failpoint
from infra.files import tail
from infra.programs import end_marked, run_program
from infra.settings import inherited_by_training
from release.errors import Conflict, Invalid, SlipwayError, Unavailable
from release.releases import Event
from release.training import Lineage
from release.variants import Candidate
from serving.variants.intake import NEEDED, parent_digest
from tasks.inspection import fetch
from tasks.origin import made_of, origin
from tasks.trainings import (
    BEGAN,
    ENDED,
    FAILED,
    TRAINED,
    Asked,
    candidate_of,
    check,
    outcome,
    parent_of,
    tell,
    told,
)
from tasks.wiring import House
from tasks.workshop import clear, log_of, workplace

MARK = "SLIPWAY_TRAINING"
"""Variable by which the processes of a training are known, and killed before it is run again."""

MOST_ATTEMPTS = 5
"""A training that takes its flow down with it is not begun for ever."""

PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}
)
"""Troubles of a host (full disk, no memory) that say nothing about the training."""

LAST_WORDS = 3
"""Lines of output that are quoted where a training failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of an entrypoint."""

    run: str
    """Id of the registry's run that it logs and registers under."""

    lineage: Lineage
    """What it is made from, as found when it began."""


def train(house: House, asked: Asked, heard: Callable[[str], None]) -> Candidate:
    """Give the version of a training, which is run unless it was.

    Args:
        house: of this process.
        asked: the training; the caller is alone at work on it.
        heard: is given every line that the entrypoint writes.

    Raises:
        SlipwayError: it failed, now or before; the ledger says so too.
        Unavailable: a part does not answer; run it again.
    """
    ended = outcome(house, asked) or _work(house, asked, heard)
    # Also where it ended long ago: whoever told so may have been killed before doing the rest.
    _show(house, ended)
    settle(house, asked, ended)
    if ended.kind == FAILED:
        raise SlipwayError(ended.sentence, f"see {log_of(house, asked)}")
    return candidate_of(ended)


def settle(house: House, asked: Asked, ended: Event) -> None:
    """Close what a training that has ended left open. Harmless if it is closed.

    The workplace goes last, so where there is none, nothing is left to do.
    """
    house.registry.close_runs(asked.id, "FAILED" if ended.kind == FAILED else "FINISHED")
    clear(house, asked)


def _show(house: House, ended: Event) -> None:
    """Write where a version comes from on the version: an image of what the ledger tells.

    It comes after the truth, for tags that the ledger knows nothing of would be taken away.
    """
    if ended.kind == FAILED:
        return
    candidate = candidate_of(ended)
    shown = house.registry.tags(candidate.model).get(candidate.version)
    if shown is None:  # somebody took the version out of the registry since
        return
    for name, value in Lineage.from_json(ended.data["lineage"]).tags().items():
        if shown.get(name) != value:
            house.registry.tag(candidate, name, value)


def _work(house: House, asked: Asked, heard: Callable[[str], None]) -> Event:
    """Bring a training to its end, and tell it."""
    # Whatever a killed run of ours left behind must not register something beside the next.
    end_marked(MARK, asked.id)
    with _failing(house, asked):
        attempt = _ended_well(house, asked) or _run(house, asked, heard)
        _keep(house, asked, attempt, _take(house, asked, attempt))
    ended = outcome(house, asked)
    assert ended is not None  # noqa: S101 - it was told
    return ended


@contextmanager
def _failing(house: House, asked: Asked) -> Iterator[None]:
    """Tell what makes a training fail; what may pass is left to the next attempt."""
    try:
        yield
    except (Unavailable, Conflict):
        raise
    except OSError as error:
        if error.errno in PASSING:
            raise Unavailable(f"{asked.id} cannot go on: {error}.", "it is tried again") from error
        tell(house, asked, FAILED, f"{asked.id} failed: {error}", {}, once="ended")
    except SlipwayError as error:
        tell(house, asked, FAILED, f"{asked.id} failed: {error}", {}, once="ended")


def _ended_well(house: House, asked: Asked) -> Attempt | None:
    """Give the newest attempt if it ended well before it was killed.

    What any other attempt registered is not trusted: nobody saw how its entrypoint ended.
    """
    began = told(house, asked, BEGAN)
    ended = [event.data["run"] for event in told(house, asked, ENDED)]
    if began and (run := began[-1].data["run"]) in ended:
        return Attempt(run=run, lineage=Lineage.from_json(began[-1].data["lineage"]))
    if len(began) >= MOST_ATTEMPTS:
        raise Invalid(
            f"It was begun {len(began)} times and never came to an end; {MOST_ATTEMPTS} is the "
            "limit.",
            "does it take all the memory?",
        )
    return None


def _run(house: House, asked: Asked, heard: Callable[[str], None]) -> Attempt:
    """Run the entrypoint once, and see whether it ended well."""
    check(house, asked)
    parent = parent_of(house, asked)
    source = fetch(house, parent) if parent else None
    attempt = _begin(house, asked, origin(asked, parent, source))
    code = run_program(
        _command(asked, source, _out(house, asked)),
        env=_environment(house, asked, attempt.run),
        cwd=asked.folder,
        log=log_of(house, asked),
        seconds=60 * asked.training.minutes,
        heard=heard,
    )
    end_marked(MARK, asked.id)
    failpoint("training-over")
    _check_end(house, asked, code)
    if made_of(asked) != (attempt.lineage.data, attempt.lineage.code):
        raise Invalid("Its data or code changed while it ran, so nobody can say what it learnt.")
    tell(house, asked, ENDED, f"{asked.id} ended well", {"run": attempt.run})
    return attempt


def _begin(house: House, asked: Asked, lineage: Lineage) -> Attempt:
    """Make room for an attempt: what an earlier one began to write, and its run, are no part of it.

    The folder is there before the run: where it is gone, no run is open.
    """
    clear(house, asked)
    _out(house, asked).mkdir(parents=True)
    house.registry.close_runs(asked.id, "KILLED")
    attempt = Attempt(run=house.registry.open_run(asked.id, asked.model), lineage=lineage)
    data = {"lineage": lineage.as_json(), "run": attempt.run}
    tell(house, asked, BEGAN, f"{asked.id} began: {lineage.sentence}", data)
    return attempt


def _out(house: House, asked: Asked) -> Path:
    """Where an entrypoint may leave its model."""
    return workplace(house, asked) / "out"


def _command(asked: Asked, parent: Path | None, out: Path) -> list[str]:
    python = str(asked.python or sys.executable)
    fixed = ["--data", str(asked.data), "--out", str(out), "--seed", str(asked.training.seed)]
    handed = ["--parent", str(parent)] if parent else []
    own = asked.training.arguments()
    return [python, str(asked.entrypoint), *fixed, *handed, "--register", asked.model, *own]


def _environment(house: House, asked: Asked, run: str) -> dict[str, str]:
    return inherited_by_training(
        MLFLOW_TRACKING_URI=house.settings.registry,
        MLFLOW_RUN_ID=run,
        MLFLOW_DISABLE_TELEMETRY="true",
        HF_HUB_OFFLINE="1",
        PYTHONUNBUFFERED="1",
        **{MARK: asked.id},
    )


def _check_end(house: House, asked: Asked, code: int | None) -> None:
    if code == 0:
        return
    if code is None:
        said = f"it took longer than its {asked.training.minutes:g} minutes and was ended"
    elif code > 128:
        said = f"signal {code - 128} ended its entrypoint"
    else:
        said = f"its entrypoint ended with code {code}"
    words = " | ".join(tail(log_of(house, asked), LAST_WORDS)) or "nothing"
    raise Invalid(f"{said}; its last words: {words[-600:]}")


def _take(house: House, asked: Asked, attempt: Attempt) -> Candidate:
    """Give the one version of an attempt: registered by it, else of what it left in `--out`.

    Raises:
        Invalid: there is none, or another, or more than one.
    """
    out = _out(house, asked)
    found = _registered(house, asked, attempt)
    if not found and all((out / one).is_file() for one in NEEDED):
        found = [house.registry.register(asked.model, out, run=attempt.run)]
    if [one.model for one in found] == [asked.model]:
        return found[0]
    if not found:
        raise Invalid(
            f"Nothing was registered under its run, and --out holds no {', '.join(NEEDED)}.",
            "log into MLFLOW_RUN_ID, or leave the model in --out",
        )
    refs = ", ".join(one.ref for one in found)
    raise Invalid(f"It registered {refs}, but it may register one version of {asked.model}.")


def _registered(house: House, asked: Asked, attempt: Attempt) -> list[Candidate]:
    """Give what was registered under an attempt's run; other attempts are passed over."""
    every = (Candidate(model=name, version=n) for name, n in house.registry.versions_of(asked.id))
    return [one for one in every if house.registry.facts(one)["run"] == attempt.run]


def _keep(house: House, asked: Asked, attempt: Attempt, candidate: Candidate) -> None:
    """Write down where a version comes from: the ledger is the truth, the tags are its image."""
    whole = replace(attempt.lineage, content=parent_digest(fetch(house, candidate)))
    failpoint("trained")
    sentence = f"{asked.id} gave {candidate.ref}: {whole.sentence}"
    data = {"version": candidate.version, "lineage": whole.as_json()}
    tell(house, asked, TRAINED, sentence, data, once="ended")
    failpoint("training-told")
