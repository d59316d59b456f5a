"""Build, measure and judge a candidate's variants. Each task may run again at any moment.

What a task has done stands in the ledger or in the store; run again, it finds it there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from evaluation.harness import Subject, measure
from evaluation.scoring import report
from evaluation.suites import load_suite
from evaluation.wording import measured
from infra.failpoints import failpoint
from release.dossier import choose
from release.gates import Verdict, judge
from release.releases import Chosen, Event, Release
from release.reports import Report
from release.variants import Recipe, Variant
from serving.client import ReplicaSession, replica_sessions
from tasks.advance import conclude
from tasks.answers import answered
from tasks.inspection import fetch
from tasks.tell import show_artifact
from tasks.telling import read_dossier
from tasks.wiring import House, house

if TYPE_CHECKING:
    from uuid import UUID

SLIPWAY = "slipway"


@task(name="build variant", task_run_name="build {label}", retries=1)
def build_variant(release_id: str, label: str) -> Variant:
    """Build one variant of a release's candidate, or find it in the store."""
    from serving.variants.build import build

    here = house()
    release = here.ledger.release(release_id)
    suite = load_suite(Path(release.suite))
    source = fetch(here, release.candidate)
    calibration = suite.texts("calibration")
    built = build(Recipe.parse(label), release.candidate, source, calibration, here.store)
    sentence = (
        f"{built.variant.ref} was in the store"
        if built.cached
        else f"{built.variant.ref} was built in {built.seconds:.1f} s"
    )
    data = {
        "variant": asdict(built.variant),
        "recipe": built.manifest.recipe_digest,
        "parity": dict(built.manifest.parity),
        "cached": built.cached,
        "seconds": built.seconds,
    }
    here.ledger.note(_event(here, release, "built", sentence, data), once=f"built:{label}")
    get_run_logger().info(sentence)
    failpoint("built")
    return built.variant


@task(name="evaluate variants")
def evaluate_variants(release_id: str, variants: Sequence[Variant]) -> list[Report]:
    """Measure the variants, and the champion beside them, on the policy's suite."""
    here = house()
    release = here.ledger.release(release_id)
    known = here.ledger.reports(release_id)
    if {one.variant.digest for one in known} >= {one.digest for one in variants}:
        return known
    suite = load_suite(Path(release.suite))
    beside = [*variants]
    if release.stable and release.stable.digest not in {one.digest for one in variants}:
        beside.append(release.stable)
    with _subjects(here, beside) as subjects:
        samples = measure(subjects, suite, told=_progress(suite.name))
    by_digest = {sample.subject.variant.digest: sample for sample in samples}
    champion = by_digest.get(release.stable.digest) if release.stable else None
    for variant in variants:
        if variant.digest not in {one.variant.digest for one in known}:
            _keep(here, release, report(by_digest[variant.digest], suite, champion=champion))
    failpoint("evaluated")
    return here.ledger.reports(release_id)


def _progress(what: str) -> Callable[[int, int], None]:
    """Show how far a measurement is, in Prefect's page; a new figure each tenth of the way."""
    shown = cast("UUID", create_progress_artifact(0.0, description=f"texts of {what}"))
    tenth = 0

    def told(done: int, total: int) -> None:
        nonlocal tenth
        if (reached := 10 * done // total) > tenth:
            tenth = reached
            update_progress_artifact(shown, 100.0 * done / total)

    return told


def _keep(here: House, release: Release, made: Report) -> None:
    here.ledger.add_report(release.id, made)
    sentence = measured(made)
    once = f"measured:{made.variant.digest}"
    data = {"report": made.digest, "suite": made.suite}
    here.ledger.note(_event(here, release, "measured", sentence, data), once=once)


@contextmanager
def _subjects(here: House, variants: Sequence[Variant]) -> Iterator[list[Subject]]:
    """Start the very processes that would serve the variants, and make them answer."""
    served = {variant.digest: here.store.path(variant.digest) for variant in variants}
    how = here.settings
    with replica_sessions(served, threads=how.threads, device=how.device) as sessions:
        yield [_subject(*one) for one in zip(variants, sessions, strict=True)]


def _subject(variant: Variant, session: ReplicaSession) -> Subject:
    return Subject(
        variant=variant,
        predict=lambda text: answered(session.ask([text])[0]),
        predict_many=lambda texts, many: [*map(answered, session.ask_many(texts, many))],
        memory_bytes=session.memory_bytes,
    )


@task(name="judge offline")
def judge_offline(release_id: str, reports: Sequence[Report]) -> Verdict:
    """Put every report before the gates, and choose the cheapest variant that passes."""
    here = house()
    release = here.ledger.release(release_id)
    verdicts = {one.digest: judge(one, release.policy.gates) for one in reports}
    chosen = choose(reports, verdicts)
    deciding = verdicts[chosen.digest] if chosen else _best(list(verdicts.values()))
    if not release.verdict:
        _record(here, release, deciding, chosen)
    # Whoever is asked for an approval finds the report at once; the flow tells the rest at its end.
    show_artifact(read_dossier(here, release_id))
    failpoint("judged")
    return deciding


def _best(verdicts: Sequence[Verdict]) -> Verdict:
    """Name the verdict that came closest to a pass."""
    empty = Verdict(subject="", findings=())
    return min(verdicts, key=lambda one: one.decision.badness, default=empty)


def _record(here: House, release: Release, verdict: Verdict, chosen: Report | None) -> None:
    said = replace(
        release,
        verdict=str(verdict.decision),
        reason=f"{verdict.subject}: {verdict.reasons}",
        chosen=Chosen(variant=chosen.variant, report=chosen.digest) if chosen else None,
    )
    sentence = f"{verdict.decision}: {said.reason}"
    conclude(here, said, _event(here, said, "judged", sentence, _findings(verdict)))


def _findings(verdict: Verdict) -> dict[str, object]:
    return {"findings": [asdict(finding) for finding in verdict.findings]}


def _event(
    here: House, release: Release, kind: str, sentence: str, data: Mapping[str, object]
) -> Event:
    return Event(
        kind=kind,
        at=here.clock(),
        actor=SLIPWAY,
        sentence=sentence,
        data=data,
        release=release.id,
        model=release.candidate.model,
    )
