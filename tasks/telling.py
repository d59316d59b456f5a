"""Tell of a release wherever people look: a page on disk, Prefect's artifact, the registry's run.

All of it is an image of the ledger, made anew at any moment; links lead from each to the others.
"""

from collections.abc import Iterable, Mapping

from evaluation import markdown
from infra.files import write_atomic
from infra.registry import RELEASE_TAG, Picture
from release.dossier import Dossier
from release.releases import Event, Phase, Release
from tasks.wiring import House

SETTLED = frozenset({Phase.AWAITING_APPROVAL, *(one for one in Phase if one.closed)})
"""Phases that last: what is told in one of them is not old a moment later."""


def read_dossier(house: House, release_id: str, links: Mapping[str, str] | None = None) -> Dossier:
    """Gather all that the ledger knows of a release.

    Args:
        house: of this process.
        release_id: of a release that may stand anywhere.
        links: more places where the same facts stand.

    Raises:
        NotFound: there is no such release.
    """
    ledger = house.ledger
    # Events first: what happens after this reading is then found untold.
    numbered = ledger.events(release_id)
    events = tuple(event for _, event in numbered)
    release = ledger.release(release_id)
    since = _since(house, release)
    recorded = _recorded(events)
    known = {"MLflow run": str(recorded.data["address"])} if recorded else {}
    return Dossier(
        release=release,
        reports=tuple(ledger.reports(release_id)),
        events=events,
        last=_last(numbered + since),
        since=next((event for _, event in since), None),
        approvals=tuple(ledger.approvals(release_id)),
        evidence=ledger.evidence(release_id),
        links={**known, **(links or {})},
    )


def _recorded(events: Iterable[Event]) -> Event | None:
    """Give the last event that names a release's run."""
    found = [one for one in events if one.kind == "recorded"]
    return found[-1] if found else None


def _since(house: House, release: Release) -> list[tuple[int, Event]]:
    """Find how the variant was put back after its release had ended; at most one event."""
    chosen, ended = release.chosen, release.closed_at
    if chosen is None or ended is None:
        return []
    later = house.ledger.events(model=release.candidate.model, kinds=("rolled-back",))
    wanted = chosen.variant.digest
    return [
        (number, event)
        for number, event in later
        if not event.release and event.at >= ended and event.data.get("left") == wanted
    ][:1]


def _last(numbered: Iterable[tuple[int, Event]]) -> int:
    """Number the last event that people should be told of."""
    return max((number for number, event in numbered if event.kind != "recorded"), default=0)


def write_page(house: House, dossier: Dossier) -> str:
    """Write a release's page under the home folder.

    Returns:
        The page's text; it lies at `settings.page(release id)`.
    """
    # Drawing takes a second of imports that nothing else needs.
    from evaluation.page import html

    text = html(dossier)
    write_atomic(house.settings.page(dossier.release.id), text.encode())
    return text


def record(house: House, release: Release, links: Mapping[str, str] | None = None) -> Dossier:
    """Make page and registry show a release as it stands now.

    Args:
        house: of this process.
        release: what is told of.
        links: more places where the same facts stand.
    """
    run = _run(house, release)
    dossier = read_dossier(house, release.id, links)
    pages = {
        "report.html": write_page(house, dossier),
        "report.md": markdown.render(dossier),
    }
    house.registry.record(run, _picture(dossier, pages))
    # The mark comes last: a version that carries it has been told of whole.
    for name, value in _tags(dossier.release, run, dossier.last).items():
        house.registry.tag(release.candidate, name, value)
    return dossier


def _run(house: House, release: Release) -> str:
    """Give the run that shows a release; the ledger settles which, should two be opened.

    A run that somebody deleted is replaced: pictures can always be made anew.
    """
    events = [event for _, event in house.ledger.events(release.id)]
    known = _recorded(events)
    if known is not None and house.registry.shows(str(known.data["run"])):
        return str(known.data["run"])
    run = house.registry.run_of(release.id)
    event = Event(
        kind="recorded",
        at=house.clock(),
        actor="slipway",
        sentence=f"the registry shows it as run {run}",
        data={"run": run, "address": house.registry.address(run)},
        release=release.id,
        model=release.candidate.model,
    )
    times = sum(one.kind == "recorded" for one in events)
    house.ledger.note(event, once=f"recorded:{times}")
    settled = _recorded(event for _, event in house.ledger.events(release.id))
    assert settled is not None  # noqa: S101 - one was just noted, by us or by somebody else
    return str(settled.data["run"])


def version_tags(house: House, release: Release) -> dict[str, str]:
    """Give the tags that a version must carry of its last release, as the ledger stands now."""
    numbered = house.ledger.events(release.id)
    recorded = _recorded(event for _, event in numbered)
    run = str(recorded.data["run"]) if recorded else ""
    return _tags(release, run, _last(numbered + _since(house, release)))


def _tags(release: Release, run: str, last: int) -> dict[str, str]:
    """Name a release on its version, the mark of completion last."""
    chosen = release.chosen
    return {
        # A copied version copies its tags: this one then names another version than its own.
        "slipway.of": release.candidate.ref,
        RELEASE_TAG: release.id,
        "slipway.outcome": str(release.phase),
        "slipway.verdict": release.verdict or "none",
        "slipway.policy": release.policy.digest,
        **({"slipway.variant": chosen.variant.recipe} if chosen else {}),
        **({"slipway.digest": chosen.variant.digest} if chosen else {}),
        **({"slipway.report": chosen.report} if chosen else {}),
        **({"slipway.run": run} if run else {}),
        "slipway.told": str(last),
    }


def is_told(house: House, release: Release) -> bool:
    """Whether the registry shows a release as the ledger has it now."""
    tags = house.registry.tags(release.candidate.model).get(release.candidate.version, {})
    return version_tags(house, release).items() <= tags.items()


def _picture(dossier: Dossier, pages: Mapping[str, str]) -> Picture:
    release = dossier.release
    named = [(one.variant.recipe, one.metrics) for one in dossier.reports]
    if dossier.champion is not None:
        named.append(("champion", dossier.champion.metrics))
    chosen = {"slipway.digest": release.chosen.variant.digest} if release.chosen else {}
    return Picture(
        at=release.opened_at,
        metrics={
            f"{name}/{metric}": measured.value
            for name, metrics in named
            for metric, measured in metrics.items()
        },
        tags={
            RELEASE_TAG: release.id,
            "slipway.candidate": release.candidate.ref,
            "slipway.outcome": str(release.phase),
            "slipway.verdict": release.verdict or "none",
            "slipway.policy": release.policy.digest,
            **chosen,
            **{f"slipway.link.{name.lower()}": at for name, at in dossier.links.items()},
            "mlflow.note.content": f"{release.reason}\n\nThe whole report: `report.html`.",
        },
        pages=pages,
        closed=release.phase.closed,
    )
