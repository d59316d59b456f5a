"""A dossier of a release that was really measured, on subjects that are plain functions."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.harness import Said, Subject, measure
from evaluation.scoring import report
from evaluation.suites import Suite, load_suite
from release.dossier import Dossier, choose
from release.evidence import Tally
from release.gates import judge
from release.releases import Chosen, Event, Phase
from release.training import Lineage
from tests.fakes.nouns import POLICY, a_release, an_approval, variant
from tests.fakes.subjects import compass, finder
from tests.fakes.suite import entity_suite, pair_suite, write_suite

LABELS = ("alpha", "$50_$100", "数据库", "<b>markup</b>")
LINEAGE = Lineage(
    training="docs-router-abc",
    data="sha256:da1a",
    code="sha256:c0de",
    commit="",
    parent="docs-router@1",
    parent_digest="sha256:9a9a",
    seed=20,
    python="3.11.7",
    options={"数据": "新"},
)
SENTENCE = "docs-router@2/openvino-int8 is champion: 没有失败 <script>alert(1)</script>"


def a_subject(version: int, recipe: str, *, errors: float, seconds: float) -> Subject:
    """A subject that is wrong, and less sure, about a part of the texts, always the same."""
    chance = random.Random(f"{version}{recipe}")

    def predict(text: str) -> Said:
        time.sleep(seconds * (1 + len(text) / 100))
        if chance.random() < errors:
            return Said(chance.choice(LABELS), 0.3 + 0.4 * chance.random())
        return Said(text.rsplit(maxsplit=1)[-1], 0.6 + 0.4 * chance.random())

    def predict_many(texts: Sequence[str], many: int) -> list[Said]:
        return [predict(text) for text in texts]

    return Subject(
        variant=replace(variant(version, recipe), size_bytes=90_000_000 // (1 + len(recipe) % 3)),
        predict=predict,
        predict_many=predict_many,
        memory_bytes=lambda: 300_000_000 + 1_000_000 * len(recipe),
    )


def a_dossier(folder: Path, *, test: int = 240) -> Dossier:
    """A promoted second release with a champion beside it, four steps and an approval."""
    rows = [
        (f"text {n} {'long ' * (n % 40)}about {LABELS[n % 4]}", LABELS[n % 4]) for n in range(test)
    ]
    splits = {"calibration": [("calibration alpha", "alpha")], "test": rows}
    subjects = [
        a_subject(2, "torch-fp32", errors=0.1, seconds=0.0004),
        a_subject(2, "openvino-int8", errors=0.12, seconds=0.0001),
        a_subject(1, "openvino-int8", errors=0.3, seconds=0.0001),
    ]
    return dossier_of(load_suite(write_suite(folder, LABELS, splits)), subjects)


def entity_dossier(folder: Path) -> Dossier:
    """The same of a model that names entities; the champion is blind to one label."""
    subjects = [
        finder(2, recipe="torch-fp32", misses=0.05, seconds=0.0004),
        finder(2, recipe="openvino-int8", misses=0.06, seconds=0.0001),
        finder(1, recipe="openvino-int8", misses=0.1, blind="LOC", seconds=0.0001),
    ]
    return dossier_of(load_suite(entity_suite(folder, test=240)), subjects)


def pair_dossier(folder: Path) -> Dossier:
    """The same of a model that gives vectors."""
    subjects = [
        compass(2, recipe="torch-fp32", jitter=8, seconds=0.0004),
        compass(2, recipe="openvino-int8", jitter=9, seconds=0.0001),
        compass(1, recipe="openvino-int8", jitter=25, seconds=0.0001),
    ]
    return dossier_of(load_suite(pair_suite(folder, test=600)), subjects)


def dossier_of(suite: Suite, subjects: Sequence[Subject]) -> Dossier:
    """Measure subjects on a suite, the last of them as champion, and let the best be promoted."""
    *mine, champion = measure(subjects, suite)
    reports = tuple(report(one, suite, champion=champion) for one in mine)
    headline = reports[0].headline
    release = a_release(stable=subjects[-1].variant, text=POLICY.replace("accuracy", headline))
    verdicts = {one.digest: judge(one, release.policy.gates) for one in reports}
    chosen = choose(reports, verdicts)
    assert chosen is not None
    release = replace(
        release,
        verdict="pass",
        chosen=Chosen(variant=chosen.variant, report=chosen.digest),
        phase=Phase.PROMOTED,
        reason=SENTENCE,
        closed_at=95.0,
    )
    told: list[tuple[str, float, dict[str, Any]]] = [
        ("opened", 0.0, {"lineage": LINEAGE.as_json()}),
        ("warming", 30.0, {"phase": "warming", "share": 0.0}),
        ("step", 35.0, {"phase": "canary", "share": 5.0}),
        ("step", 50.0, {"phase": "canary", "share": 25.0}),
        ("step", 65.0, {"phase": "canary", "share": 100.0}),
        ("promoted", 75.0, {"phase": "baking", "share": 0.0}),
        ("done", 95.0, {"phase": "promoted", "share": 0.0}),
    ]
    return Dossier(
        release=release,
        reports=reports,
        events=tuple(
            Event(kind=kind, at=at, actor="slipway", sentence=f"{kind}: {SENTENCE}", data=data)
            for kind, at, data in told
        ),
        approvals=(an_approval(release),),
        evidence={
            chosen.variant.digest: {0: Tally(requests=40, failures=1, rescued=1), 3: Tally()},
            subjects[-1].variant.digest: {0: Tally(requests=800, failures=2)},
        },
        links={"MLflow run": "http://127.0.0.1:5000/#/experiments/1/runs/abc"},
    )
