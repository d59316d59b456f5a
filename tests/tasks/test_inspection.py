"""What stands in the way of a model of another task, before anything is begun."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.ledger import Change, Ledger
from infra.settings import Settings
from release.variants import Manifest, Variant
from serving.variants.intake import Facts
from tasks.inspection import Request, inspect
from tasks.plan import plan
from tasks.wiring import House
from tests.fakes.nouns import POLICY
from tests.fakes.ready_model import make_ready_model
from tests.fakes.suite import LABELS, entity_suite, keyword_suite, pair_suite

MODEL = "tagger"
CLASSES: Any = "text-classification"
ENTITIES: Any = "token-classification"
VECTORS: Any = "feature-extraction"
TOKEN_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SUITES: dict[str, Callable[[Path], Path]] = {
    CLASSES: lambda folder: keyword_suite(folder, LABELS),
    ENTITIES: entity_suite,
    VECTORS: pair_suite,
}
METRICS = {CLASSES: "accuracy", ENTITIES: "entity_f1", VECTORS: "spearman"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    made = House(settings=settings, ledger=Ledger.open(settings.ledger))
    made.registry.register(MODEL, make_ready_model(settings.root / "files"))
    yield made
    made.ledger.close()


Look = Callable[..., list[str]]


@pytest.fixture
def obstacles(here: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Say what stands in the way of a model of some task, with a suite and gates of some task."""

    def look(task: Any, suite: str, metric: str = "", labels: tuple[str, ...] = ()) -> list[str]:
        facts = Facts(task=task, labels=labels, longest_input=128)
        monkeypatch.setattr("tasks.inspection.read_facts", lambda folder: facts)
        SUITES[suite](tmp_path / "suite")
        policy = tmp_path / "policy.toml"
        text = POLICY.replace('"accuracy"', f'"{metric or METRICS[suite]}"')
        policy.write_text(text.replace("openvino-int8", "torch-int8"))
        return [str(one) for one in inspect(here, Request(model=MODEL, policy=policy)).obstacles]

    return look


@pytest.mark.parametrize("labels", [TOKEN_LABELS, ("PER", "LOC"), ("LOC", "O", "PER")])
def test_a_model_that_fits_has_nothing_in_its_way(obstacles: Look, labels: tuple[str, ...]) -> None:
    assert obstacles(ENTITIES, ENTITIES, labels=labels) == []


def test_a_model_without_labels_needs_none(obstacles: Look) -> None:
    assert obstacles(VECTORS, VECTORS) == []


def test_a_suite_of_another_task_is_refused(obstacles: Look) -> None:
    (said,) = obstacles(VECTORS, ENTITIES)
    assert said.startswith(f"{MODEL}@1 is for {VECTORS}, but its suite is for {ENTITIES}.")


def test_entities_that_a_model_does_not_know_are_refused(obstacles: Look) -> None:
    (said,) = obstacles(ENTITIES, ENTITIES, labels=("O", "B-PER", "I-PER"))
    assert "answers with O, B-PER, I-PER, but its suite is labelled PER, LOC" in said


def test_a_classifiers_labels_are_taken_as_they_are(obstacles: Look) -> None:
    assert len(obstacles(CLASSES, CLASSES, labels=("B-alpha", "beta", "gamma"))) == 1
    assert obstacles(CLASSES, CLASSES, labels=LABELS) == []


@pytest.mark.parametrize(
    ("task", "metric", "known"),
    [
        (ENTITIES, "accuracy", "entity_f1, entity_precision, entity_recall, latency_p50_ms"),
        (VECTORS, "entity_f1", "spearman, pearson, latency_p50_ms"),
        (CLASSES, "spearman", "accuracy, macro_f1, latency_p50_ms"),
    ],
)
def test_a_gate_on_what_the_task_does_not_measure_is_refused(
    obstacles: Look, task: str, metric: str, known: str
) -> None:
    labels = {CLASSES: LABELS, ENTITIES: TOKEN_LABELS, VECTORS: ()}[task]
    found = obstacles(task, task, metric, labels)
    # The policy has two gates on it, and each is one.
    assert len(found) == 2
    assert (
        f"A gate names '{metric}', which no suite of {task} measures. (measured are {known}"
        in (found[0])
    )


def test_a_plan_counts_both_texts_of_a_pair(here: House, obstacles: Look, tmp_path: Path) -> None:
    obstacles(VECTORS, VECTORS)
    outlook = plan(here, Request(model=MODEL, policy=tmp_path / "policy.toml"))
    assert outlook.trial is not None
    assert (outlook.trial.test, outlook.trial.calibration) == (120, 24)


def test_a_champion_of_another_task_is_not_replaced(here: House, obstacles: Look) -> None:
    manifest = Manifest(
        candidate=f"{MODEL}@7",
        parent="sha256:parent",
        recipe="torch-fp32",
        recipe_digest="sha256:recipe",
        task=CLASSES,
        labels=LABELS,
        longest_input=128,
        files={},
    )
    champion = here.store.put(here.store.aside(), manifest)
    _crown(here, champion)
    (said,) = obstacles(VECTORS, VECTORS)
    assert f"{MODEL}@7/torch-fp32 is for {CLASSES}, and {MODEL}@1 for {VECTORS}" in said
    _crown(here, replace(champion, digest="sha256:lost"))
    assert obstacles(VECTORS, VECTORS) == []


def _crown(here: House, champion: Variant) -> None:
    before = here.ledger.desired(MODEL)
    claim = here.ledger.claim(MODEL, "test", 10, 100.0, force=True)
    desired = replace(before, champion=champion)
    here.ledger.commit(claim, Change(desired=desired, expected=before.generation, events=()), 100.0)
