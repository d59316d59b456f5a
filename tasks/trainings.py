"""What the ledger knows of trainings: who asked, how it ended, where a version comes from.

A training has a row of events, told of its model: `training-asked`, then for each attempt
`training-began` and, where its entrypoint was seen to end well, `training-ended`; then `trained` or
`training-failed`, of which there is one. No Prefect.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.identity import Identity
from release.errors import Invalid, NotFound
from release.releases import Event
from release.training import Lineage, Training
from release.variants import Candidate
from tasks.wiring import House

ASKED, BEGAN, ENDED = "training-asked", "training-began", "training-ended"
TRAINED, FAILED = "trained", "training-failed"
HELD_BACK, NOT_RELEASED = "release-held-back", "release-refused"
"""Of a version that was trained to be released: another release is open; it cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A training that somebody asked for, frozen as it was then."""

    id: str
    model: str
    training: Training
    folder: Path
    """Where paths of the training start."""

    by: str
    """Name of the proven identity."""

    release: bool
    """Whether the version is to be released at once, in the same name."""

    at: float

    @property
    def entrypoint(self) -> Path:
        """File of the program."""
        return _place(self.folder, self.training.entrypoint, "entrypoint").resolve()

    @property
    def data(self) -> Path:
        """Folder or file that it learns from."""
        return _place(self.folder, self.training.data, "data").resolve()

    @property
    def python(self) -> Path | None:
        """Interpreter of its own environment; None means ours."""
        given = self.training.python
        # Not resolved: an environment's interpreter is a link, and knows its place by it.
        return _place(self.folder, given, "python") if given else None


def _place(folder: Path, path: str, name: str) -> Path:
    """Give where a path of a training leads, of which it is certain that it can be looked at.

    Raises:
        NotFound: nothing can lie there.
    """
    try:
        place = folder / Path(path).expanduser()
        place.resolve()
        place.exists()
    except (OSError, RuntimeError) as error:
        # A name that is too long, a folder that is barred; an unknown user behind a tilde, or links
        # that lead in a circle.
        why = str(error.strerror if isinstance(error, OSError) else error).rstrip(".")
        said = f"Nothing can lie at {path:.80}: {why}."
        raise NotFound(said, f"see {name} in the training") from error
    return place


def read_training(house: House, model: str, file: Path | None) -> tuple[Training, Path]:
    """Read a training from a file, the model's own under the home folder if none is named.

    Returns:
        The training, and the folder where its paths start.

    Raises:
        NotFound: the file cannot be read.
        Invalid: it breaks a rule.
    """
    path = file or house.settings.root / "trainings" / f"{model}.toml"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        hint = "give one with --training FILE"
        raise NotFound(f"No training of {model} can be read at {path}.", hint) from error
    except UnicodeDecodeError as error:
        raise Invalid(f"The training {path} is not UTF-8: {error}.") from error
    return Training.parse(text), path.parent.resolve()


def check(house: House, asked: Asked) -> None:
    """Check everything that can be checked before a training begins.

    Raises:
        NotFound: there is no such folder, entrypoint, interpreter, data or parent.
    """
    if not asked.folder.is_dir():
        raise NotFound(f"There is no folder {asked.folder}.", "the training was read from there")
    found = {"entrypoint": asked.entrypoint, "python": asked.python}
    for name, path in found.items():
        if path is not None and not path.is_file():
            raise NotFound(f"There is no file {path}.", f"see {name} in the training")
    if not asked.data.exists():
        raise NotFound(f"There is no data at {asked.data}.", "see data in the training")
    parent_of(house, asked)


def parent_of(house: House, asked: Asked) -> Candidate | None:
    """Find the version that a training goes on from; None where it starts afresh.

    Raises:
        NotFound: there is no such version.
    """
    named = asked.training.parent
    if named == "none":
        return None
    if named == "champion":
        champion = house.ledger.desired(asked.model).champion
        if champion is None:
            hint = 'parent = "none" starts afresh'
            raise NotFound(f"{asked.model} has no champion to go on from.", hint)
        return Candidate(model=asked.model, version=champion.version)
    return house.registry.candidate(asked.model, named if isinstance(named, int) else None)


def record(
    house: House,
    model: str,
    who: Identity,
    file: Path | None,
    *,
    release: bool,
    training_id: str = "",
) -> Asked:
    """Write down that somebody asks for a training; with an id that is known, find it.

    Raises:
        NotFound: a file, the data or the parent is not there.
        Invalid: the name or the training breaks a rule.
    """
    if training_id and (known := asked_as(house, {training_id}, model)):
        return known[0]
    training, folder = read_training(house, Candidate(model=model, version=1).model, file)
    asked = Asked(
        id=training_id or f"{model}-t-{uuid4().hex[:8]}",
        model=model,
        training=training,
        folder=folder,
        by=who.name,
        release=release,
        at=house.clock(),
    )
    check(house, asked)
    purpose = " to be released" if release else ""
    data = {"training": asked.id, "text": training.text, "folder": str(folder), "release": release}
    tell(house, asked, ASKED, f"{who.name} asks for training {asked.id}{purpose}", data, once=ASKED)
    return find(house, model, asked.id)


def tell(
    house: House,
    asked: Asked,
    kind: str,
    sentence: str,
    data: Mapping[str, Any],
    *,
    once: str = "",
) -> bool:
    """Append an event of a training; with `once`, the first of its kind alone."""
    event = Event(
        kind=kind,
        at=house.clock(),
        actor=asked.by if kind == ASKED else "slipway",
        sentence=sentence,
        data={"training": asked.id, **data},
        model=asked.model,
    )
    return house.ledger.note(event, once=f"{once}:{asked.id}" if once else "")


def find(house: House, model: str, training_id: str) -> Asked:
    """Give a training by its id.

    Raises:
        NotFound: none of this model has it.
    """
    if found := asked_as(house, {training_id}, model):
        return found[0]
    raise NotFound(
        f"No training of {model} is called {training_id!r}.", f"see slipway history {model}"
    )


def asked_as(house: House, ids: Collection[str], model: str | None = None) -> list[Asked]:
    """Give the trainings, of a model or of any, that have one of these ids."""
    events = [event for _, event in house.ledger.events(model=model, kinds=(ASKED,))]
    return [_read(event) for event in events if event.data["training"] in ids]


def _read(event: Event) -> Asked:
    return Asked(
        id=event.data["training"],
        model=event.model,
        training=Training.parse(event.data["text"]),
        folder=Path(event.data["folder"]),
        by=event.actor,
        release=event.data["release"],
        at=event.at,
    )


def outcome(house: House, asked: Asked) -> Event | None:
    """Give the event with which a training ended, None while it has not."""
    ended = told(house, asked, TRAINED, FAILED)
    return ended[0] if ended else None


def told(house: House, asked: Asked, *kinds: str) -> list[Event]:
    """Give a training's events of some kinds, in order."""
    events = (event for _, event in house.ledger.events(model=asked.model, kinds=kinds))
    return [event for event in events if event.data["training"] == asked.id]


def candidate_of(trained: Event) -> Candidate:
    """Give the version that a training gave."""
    return Candidate(model=trained.model, version=trained.data["version"])


def lineage_of(house: House, candidate: Candidate) -> Lineage | None:
    """Give where a version comes from, by the ledger alone; None where no training of ours made it.

    A copied version has the tags of the one that it was copied from, but no event.
    """
    return lineages(house, candidate.model).get(candidate.version)


def lineages(house: House, model: str) -> dict[int, Lineage]:
    """Give where each version of a model comes from that a training of ours made."""
    trained = (event for _, event in house.ledger.events(model=model, kinds=(TRAINED,)))
    return {event.data["version"]: Lineage.from_json(event.data["lineage"]) for event in trained}


def dropped(house: House) -> list[Asked]:
    """Give the trainings that have not ended, or whose version still waits for its release.

    Of several versions of a model that could be released, only the newest is worth it.
    """
    asked: dict[str, Event] = {}
    last: dict[str, Event] = {}
    for _, event in house.ledger.events(kinds=(ASKED, TRAINED, FAILED, NOT_RELEASED)):
        (asked if event.kind == ASKED else last)[event.data["training"]] = event
    unended = [event for name, event in asked.items() if name not in last]
    newest = {
        asked[name].model: (asked[name], event)
        for name, event in last.items()
        if event.kind == TRAINED and asked[name].data["release"]
    }
    waiting = [event for event, said in newest.values() if _waits(house, said)]
    return [_read(event) for event in (*unended, *waiting)]


def _waits(house: House, said: Event) -> bool:
    """Whether a version that was trained to be released never was, and could be now."""
    releases = house.ledger.releases(said.model)
    return all(one.phase.closed and one.candidate != candidate_of(said) for one in releases)
