"""What stands in the way of a model of another task, before anything is begun."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from infra.callers.namespaces import Namespaces
from infra.identity import Identities
from infra.ledger import Change, Ledger
from infra.settings import Settings
from release.callers import Said
from release.errors import NotFound
from release.policy import Releasing
from release.variants import Manifest, Task, Variant
from tasks.inspection import Request, inspect, read_policy
from tasks.plan import plan
from tasks.wiring import House
from tests.fakes.nouns import POLICY
from tests.fakes.ready_model import make_ready_model
from tests.fakes.suite import LABELS, entity_suite, keyword_suite, pair_suite

TEXT, TOKEN, VECTOR = Task.TEXT_CLASSIFICATION, Task.TOKEN_CLASSIFICATION, Task.FEATURE_EXTRACTION
TOKEN_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
SUITES: dict[Task, Callable[[Path], Path]] = {
    TEXT: lambda folder: keyword_suite(folder, LABELS),
    TOKEN: entity_suite,
    VECTOR: pair_suite,
}
METRICS = {
    TEXT: "accuracy",
    TOKEN: "entity_f1",
    VECTOR: "spearman",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    made = House(settings=settings, ledger=Ledger.open(settings.ledger))
    yield made
    made.ledger.close()


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A name that no other test has: the registry is shared, and made only once."""
    return tmp_path.name


Look = Callable[..., list[str]]


@pytest.fixture
def obstacles(here: House, model: str, tmp_path: Path) -> Look:
    """Say what stands in the way of a model of some task, with a suite and gates of some task."""

    def look(
        task: Task,
        suite: Task,
        metric: str = "",
        labels: Sequence[str] = LABELS,
        longest: int = 512,
    ) -> list[str]:
        files = make_ready_model(tmp_path / "files", task, labels)
        (files / "slipway.json").write_text(json.dumps({"longest_input": longest}))
        here.registry.register(model, files)
        SUITES[suite](tmp_path / "suite")
        policy = tmp_path / "policy.toml"
        text = POLICY.replace('"accuracy"', f'"{metric or METRICS[suite]}"')
        policy.write_text(text.replace("openvino-int8", "torch-int8"))
        return [str(one) for one in inspect(here, Request(model=model, policy=policy)).obstacles]

    return look


@pytest.mark.parametrize(
    "labels", [TOKEN_LABELS, ("PER", "LOC"), ("LOC", "O", "PER"), (*TOKEN_LABELS, "S-PER", "E-PER")]
)
def test_a_model_that_fits_has_nothing_in_its_way(obstacles: Look, labels: tuple[str, ...]) -> None:
    assert obstacles(TOKEN, TOKEN, labels=labels) == []


def test_a_model_without_labels_needs_none(obstacles: Look) -> None:
    assert obstacles(VECTOR, VECTOR) == []


def test_a_text_that_is_too_long_for_the_model_is_named_beforehand(obstacles: Look) -> None:
    (said,) = obstacles(TEXT, TEXT, longest=4)
    assert "texts of the suite" in said and "tokens, of 4 at most" in said


def test_a_suite_of_another_task_is_refused(obstacles: Look, model: str) -> None:
    (said,) = obstacles(VECTOR, TOKEN)
    wanted = f"{model}@1 is for feature-extraction, but its suite is for token-classification."
    assert said.startswith(wanted)


def test_entities_that_a_model_does_not_know_are_refused(obstacles: Look) -> None:
    (said,) = obstacles(TOKEN, TOKEN, labels=("O", "B-PER", "I-PER"))
    assert "answers with O, B-PER, I-PER, but its suite is labelled PER, LOC" in said


def test_a_classifiers_labels_are_taken_as_they_are(obstacles: Look) -> None:
    assert len(obstacles(TEXT, TEXT, labels=("B-alpha", "beta", "gamma"))) == 1
    assert obstacles(TEXT, TEXT, labels=LABELS) == []
    (said,) = obstacles(TEXT, TEXT, labels=(*LABELS, "z", "y"))
    assert "or make this one with --also for each of: y, z)" in said


@pytest.mark.parametrize(
    ("task", "metric", "known"),
    [
        (TOKEN, "accuracy", "entity_f1, entity_precision, entity_recall, latency_p50_ms"),
        (VECTOR, "entity_f1", "spearman, pearson, latency_p50_ms"),
        (TEXT, "spearman", "accuracy, macro_f1, latency_p50_ms"),
    ],
)
def test_a_gate_on_what_the_task_does_not_measure_is_refused(
    obstacles: Look, task: Task, metric: str, known: str
) -> None:
    labels = TOKEN_LABELS if task == TOKEN else LABELS
    found = obstacles(task, task, metric, labels)
    # The policy has two gates on it, and each is one.
    assert len(found) == 2
    assert (
        f"A gate names '{metric}', which no suite of {task} measures. (measured are {known}"
        in (found[0])
    )


def test_a_plan_counts_both_texts_of_a_pair(
    here: House, obstacles: Look, model: str, tmp_path: Path
) -> None:
    obstacles(VECTOR, VECTOR)
    outlook = plan(here, Request(model=model, policy=tmp_path / "policy.toml"))
    assert outlook.trial is not None
    assert (outlook.trial.test, outlook.trial.calibration) == (120, 24)


def test_a_champion_of_another_task_is_not_replaced(
    here: House, obstacles: Look, model: str
) -> None:
    manifest = Manifest(
        candidate=f"{model}@7",
        parent="sha256:parent",
        recipe="torch-fp32",
        recipe_digest="sha256:recipe",
        task=TEXT,
        labels=LABELS,
        longest_input=128,
        files={},
    )
    champion = here.store.put(here.store.aside(), manifest)
    _crown(here, model, champion)
    (said,) = obstacles(VECTOR, VECTOR)
    wanted = (
        f"{model}@7/torch-fp32 is for text-classification, and {model}@1 for feature-extraction"
    )
    assert wanted in said
    _crown(here, model, replace(champion, digest="sha256:lost"))
    assert obstacles(VECTOR, VECTOR) == []


def _crown(here: House, model: str, champion: Variant) -> None:
    before = here.ledger.desired(model)
    claim = here.ledger.claim(model, "test", 10, 100.0, force=True)
    desired = replace(before, champion=champion)
    here.ledger.commit(claim, Change(desired=desired, expected=before.generation, events=()), 100.0)


def test_an_endpoint_is_released_by_its_namespaces_policy_unless_it_has_its_own(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path)
    here = House(settings=settings, ledger=Ledger.open(settings.ledger))
    people = Identities(here.ledger)
    ada = people.prove(people.add("ada", "admin", by=None))
    spaces = Namespaces(here.ledger, settings.recording)
    spaces.create("shop", Said(), by=ada)
    spaces.give("reviews", "shop", by=ada)
    folder = tmp_path / "policies"
    folder.mkdir()
    shared = re.sub('path = ".*"', 'path = "../suites/{model}"', POLICY)
    (folder / "strict.toml").write_text(shared)
    (folder / "floor.toml").write_text("[approval]\ncount = 3\n")

    def asked(model: str, policy: Path | None = None) -> tuple[str, int, tuple[str, ...], Path]:
        found, where = read_policy(here, Request(model=model, policy=policy))
        team, *_ = found.text.split("\n\x1e")
        return team, found.approval.count, found.approval.roles, where

    with pytest.raises(NotFound, match="policies/reviews.toml"):
        asked("reviews")
    spaces.set("shop", releasing=Releasing(policy="strict", roles=("admin",)), by=ada)
    where = (tmp_path / "suites" / "reviews").resolve()
    assert asked("reviews") == (shared, 3, ("admin",), where)
    # Of another namespace nothing holds; and what is more particular comes first, roles do not.
    with pytest.raises(NotFound, match="policies/other.toml"):
        asked("other")
    own = shared.replace("{model}", "own")
    (folder / "reviews.toml").write_text(own)
    assert asked("reviews")[:3] == (own, 3, ("admin",))
    named = tmp_path / "named.toml"
    named.write_text(shared.replace("{model}", "named"))
    assert asked("reviews", named)[2:] == (
        ("admin",),
        (tmp_path.parent / "suites" / "named").resolve(),
    )
    here.ledger.close()
