"""A suite and a first policy for a model of any task, by the command itself."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from console.main import app
from evaluation.suites import load_suite
from release.errors import Invalid
from release.policy import Policy
from tests.fakes.suite import LABELS, entity_suite, keyword_suite, pair_suite


def said(*words: str) -> str:
    """Run the command; what it raises is raised here."""
    return CliRunner().invoke(app, words, catch_exceptions=False).output


def lines(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_suite_of_entities_is_made(tmp_path: Path) -> None:
    one = [{"start": 0, "end": 4, "label": "PER"}]
    rows: list[dict[str, object]] = [{"text": f"Anna {n}", "spans": one} for n in range(60)]
    rows += [{"text": "Anna 1", "spans": []}, {"text": "", "spans": []}]
    table, folder = lines(tmp_path / "t.jsonl", rows), tmp_path / "suite"
    options = ("--task", "token-classification", "--entities", "spans")
    output = said("suite", table, str(folder), *options)
    assert f"{folder}: calibration 12, test 47; labels PER\n" in output
    assert "left out: 1 row without a text or entities\n" in output
    assert "left out: 1 text with several lists of entities\n" in output
    assert load_suite(folder).task == "token-classification"


def test_labels_that_no_text_has_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": f"t {n}", "label": "好差"[n % 2]} for n in range(60)]
    table, folder = lines(tmp_path / "t.jsonl", rows), tmp_path / "suite"
    output = said("suite", table, str(folder), "--also", "平", "--also", "好")
    assert f"labels {', '.join(sorted('好差平'))}\n" in output
    assert load_suite(folder).labels == tuple(sorted("好差平"))
    with pytest.raises(Invalid, match="No suite of text-classification has the further labels ' '"):
        said("suite", table, str(tmp_path / "other"), "--also", " ")


def test_a_suite_of_pairs_is_made(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"a": f"one {n}", "b": f"two {n}", "c": n / 60} for n in range(60)
    ]
    table, folder = lines(tmp_path / "t.jsonl", rows), tmp_path / "suite"
    options = ("--text", "a", "--other", "b", "--similarity", "c")
    output = said("suite", table, str(folder), "--task", "feature-extraction", *options)
    assert output == f"{folder}: calibration 12, test 48\n"
    assert load_suite(folder).task == "feature-extraction"


def test_a_task_that_nobody_judges_is_refused(tmp_path: Path) -> None:
    output = said("suite", "t.csv", str(tmp_path / "suite"), "--task", "translation")
    assert "'translation' is not one of 'text-classification', 'token-classif" in output


@pytest.mark.parametrize(
    ("task", "option", "metric"),
    [
        ("classes", "--accuracy", "accuracy"),
        ("entities", "--entity-f1", "entity_f1"),
        ("pairs", "--spearman", "spearman"),
    ],
)
def test_a_first_policy_gates_what_its_suite_measures(
    tmp_path: Path, task: str, option: str, metric: str
) -> None:
    keyword_suite(tmp_path / "classes", LABELS)
    entity_suite(tmp_path / "entities")
    pair_suite(tmp_path / "pairs")
    words = ("policy", "mine", "--show", "--suite", str(tmp_path / task))
    assert [(one.metric, one.name) for one in Policy.parse(said(*words)).gates] == [
        (metric, f"{metric} at least 0.5"),
        (metric, f"{metric} regression at most 0.03"),
        ("latency_p99_ms", "latency_p99_ms at most 1000"),
    ]
    asked = Policy.parse(said(*words, option, "0.7"))
    assert asked.gates[0].at_least == 0.7
    for gate in asked.gates:
        gate.check_task(load_suite(tmp_path / task).task)


def test_a_least_of_another_task_is_refused(tmp_path: Path) -> None:
    words = ("policy", "mine", "--show", "--suite", str(entity_suite(tmp_path / "suite")))
    with pytest.raises(Invalid, match=r"token-classification measures 'accuracy'.*--entity-f1"):
        said(*words, "--accuracy", "0.7")


def test_the_guide_is_true_of_other_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = Path(__file__).parents[2] / "docs" / "data-scientist.md"
    section = guide.read_text(encoding="utf-8").partition("## Other tasks")[2]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    names = [f'"Anna {n}","[{{""start"": 0, ""end"": 4, ""label"": ""PER""}}]"' for n in range(60)]
    pairs = [f"one {n},two {n},{n / 60}" for n in range(60)]
    (tmp_path / "entities.csv").write_text("\n".join(["text,entities", *names]))
    (tmp_path / "pairs.csv").write_text("\n".join(["text,other,similarity", *pairs]))
    monkeypatch.chdir(tmp_path)
    outputs = [said(*shlex.split(line)[1:]) for line in block.splitlines()]
    assert [Policy.parse(one).gates[0].name for one in outputs[1::2]] == [
        "entity_f1 at least 0.8",
        "spearman at least 0.7",
    ]
