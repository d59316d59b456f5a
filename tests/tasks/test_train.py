"""Trainings: what an entrypoint is handed, what is taken of it, what fails and how it is told."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from evaluation.suites import load_suite
from infra.identity import Identity
from infra.ledger import Ledger
from infra.processes import marked
from infra.settings import Settings
from infra.sources import code_digest, data_digest
from release.errors import Conflict, Invalid, NotFound, Refused, SlipwayError, Unavailable
from release.releases import Release
from release.variants import Candidate
from tasks.desk import ask_training, open_release, roll_back
from tasks.images import repair
from tasks.inspection import Request, fetch
from tasks.origin import origin
from tasks.train import MARK, MOST_ATTEMPTS, train
from tasks.trainings import (
    ASKED,
    BEGAN,
    ENDED,
    FAILED,
    NOT_RELEASED,
    TRAINED,
    Asked,
    dropped,
    find,
    lineage_of,
    tell,
    told,
)
from tasks.wiring import House
from tasks.workshop import alone, log_of, progress, workplace
from tests.fakes.ready_model import LABELS, make_ready_model
from tests.fakes.suite import keyword_suite
from tests.fakes.tiny_registry import POLICY

ENTRYPOINT = Path(__file__).parents[1] / "fakes" / "entrypoint.py"
RITA = Identity(name="rita", role="requester")
_numbers = count(1)


@dataclass(frozen=True)
class Shop:
    """A model of its own for each test, in a home and registry that all share."""

    house: House
    model: str
    folder: Path

    def ask(
        self, how: str = "leave", *, release: bool = False, who: Identity = RITA, **more: Any
    ) -> Asked:
        return ask_training(self.house, self.model, who, self.write(how, **more), release=release)

    def write(self, how: str = "leave", **more: Any) -> Path:
        path = self.folder / "训练.toml"
        plain = {"entrypoint": str(ENTRYPOINT), "data": "数据", "seed": 7} | more
        lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
        ready, heard = self.folder.parent / "ready", self.folder / "told"
        lines += ["[options]", f'how = "{how}"', f'ready = "{ready}"', f'told = "{heard}"']
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    def train(self, asked: Asked) -> Candidate:
        return train(self.house, asked, lambda _line: None)

    def calls(self) -> list[dict[str, Any]]:
        """How the entrypoint was called, each time."""
        heard = self.folder / "told"
        return [json.loads(line) for line in heard.read_text().splitlines()]

    def kinds(self) -> list[str]:
        return [event.kind for _, event in self.house.ledger.events(model=self.model)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("home")
    settings = Settings(home=root)
    made = House(settings=settings, ledger=Ledger.open(settings.ledger))
    make_ready_model(root / "ready")
    yield made
    made.ledger.close()


@pytest.fixture
def shop(home: House) -> Shop:
    model = f"model-{next(_numbers)}"
    folder = home.settings.root / model
    (folder / "数据").mkdir(parents=True)
    (folder / "数据" / "语料.txt").write_text("文档", encoding="utf-8")
    return Shop(house=home, model=model, folder=folder)


def test_what_is_left_in_out_is_registered_with_its_lineage(shop: Shop) -> None:
    asked = shop.ask()
    made = shop.train(asked)
    assert made == Candidate(model=shop.model, version=1)
    assert shop.kinds() == [ASKED, BEGAN, ENDED, TRAINED]
    lineage = lineage_of(shop.house, made)
    assert lineage is not None
    assert lineage.data == data_digest(shop.folder / "数据")
    assert lineage.code == code_digest(ENTRYPOINT)
    assert lineage.python == ".".join(map(str, sys.version_info[:3]))
    assert (lineage.training, lineage.parent, lineage.seed) == (asked.id, "none", 7)
    assert lineage.options["how"] == "leave"
    facts = shop.house.registry.facts(made)
    assert facts.items() >= lineage.tags().items()
    (event,) = told(shop.house, asked, TRAINED)
    assert f"gave {made.ref}: data {lineage.data[7:19]}" in event.sentence
    assert progress(shop.house, asked) == (1.0, "done")
    assert not workplace(shop.house, asked).exists()
    fetched = fetch(shop.house, made)
    assert sorted(path.name for path in fetched.iterdir()) == sorted(
        path.name for path in (shop.folder.parent / "ready").iterdir()
    )


def test_what_it_registers_under_its_run_is_taken(shop: Shop) -> None:
    asked = shop.ask("leave+register")
    made = shop.train(asked)
    assert made.version == 1
    assert shop.house.registry.facts(made)["source"].endswith("/mine")
    assert lineage_of(shop.house, made) is not None


def test_it_is_handed_what_it_needs_and_no_secret(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("SLIPWAY_TOKEN", "SLIPWAY_LEDGER_URL", "PREFECT_API_AUTH_STRING", "PGPASSWORD")
    for name in (*secrets, "PYTHONPATH"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("MINE", "kept")
    asked = shop.ask()
    shop.train(asked)
    (call,) = shop.calls()
    assert call["data"] == str(shop.folder / "数据")
    assert call["out"] == str(workplace(shop.house, asked) / "out")
    assert (call["seed"], call["register"], call["parent"]) == ("7", shop.model, "")
    assert (call["cwd"], call["executable"]) == (str(shop.folder), sys.executable)
    environment = call["environment"]
    assert environment["MLFLOW_TRACKING_URI"] == shop.house.settings.registry
    assert len(environment["MLFLOW_RUN_ID"]) == 32
    assert environment["MINE"] == "kept"
    assert [name for name in environment if name.startswith("SLIPWAY_")] == [MARK]
    assert "a secret" not in environment.values()


def test_a_training_that_is_done_is_not_done_again(shop: Shop) -> None:
    asked = shop.ask()
    assert shop.train(asked) == shop.train(asked)
    assert len(shop.calls()) == 1
    assert shop.kinds().count(TRAINED) == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fail", r"its entrypoint ended with code 3; its last words: .*begun \| 数据坏了"),
        ("pause", "Nothing was registered under its run, and --out holds no config.json"),
        ("register+register", r"It registered (model-\d+)@1, \1@2, but it may register one"),
        ("register+other", r"It registered model-\d+@1, other@\d"),
        ("other", r"It registered other@\d"),
        ("leave+pickle", "optimizer.pkl is not of a kind that may be loaded"),
        ("leave+change", "data or code changed while it ran"),
        ("nonsense", r"ended with code 1; its last words: .*KeyError: 'nonsense'"),
    ],
)
def test_what_fails_is_told_once_and_not_tried_again(shop: Shop, how: str, said: str) -> None:
    asked = shop.ask(how)
    for _ in range(2):
        with pytest.raises(SlipwayError, match=said):
            shop.train(asked)
    assert [kind for kind in shop.kinds() if kind != ENDED] == [ASKED, BEGAN, FAILED]
    assert len(shop.calls()) == 1
    assert not workplace(shop.house, asked).exists()
    assert asked not in dropped(shop.house)


def test_over_its_time_it_is_ended(shop: Shop) -> None:
    asked = shop.ask("sleep", minutes=0.2)
    with pytest.raises(SlipwayError, match=r"longer than its 0.2 minutes .*last words: .*begun"):
        shop.train(asked)
    assert marked(MARK, asked.id) == []


def test_what_it_started_ends_with_it(shop: Shop) -> None:
    asked = shop.ask("daemon+leave")
    shop.train(asked)
    assert marked(MARK, asked.id) == []


def test_its_output_may_be_garbage(shop: Shop) -> None:
    asked = shop.ask("leave+garbage")
    lines: list[str] = []
    assert train(shop.house, asked, lines.append).version == 1
    assert log_of(shop.house, asked).stat().st_size > 300_000
    assert "progress 0.25 begun" in lines


def test_it_runs_in_an_environment_of_its_own(shop: Shop) -> None:
    place = shop.folder / "环境"
    making = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(place)]
    subprocess.run(making, check=True)
    made = shop.train(shop.ask(python="环境/bin/python"))
    (call,) = shop.calls()
    assert call["executable"] == str(place / "bin" / "python") != sys.executable
    assert lineage_of(shop.house, made) is not None


def test_a_python_that_is_none_is_told(shop: Shop) -> None:
    (shop.folder / "python").write_text("#!/bin/sh\nexit 1\n")
    asked = shop.ask(python="python")
    with pytest.raises(SlipwayError, match="does not run as Python"):
        shop.train(asked)
    assert shop.kinds() == [ASKED, FAILED]


def test_the_parent_is_handed_over_and_named(shop: Shop) -> None:
    first = shop.train(shop.ask())
    second = shop.train(shop.ask(parent=1))
    third = shop.train(shop.ask(parent="newest"))
    folders = [call["parent"] for call in shop.calls()]
    assert folders == ["", str(fetch(shop.house, first)), str(fetch(shop.house, second))]
    one, two, three = (lineage_of(shop.house, made) for made in (first, second, third))
    assert one and two and three
    assert (two.parent, two.parent_digest) == (first.ref, one.content)
    assert (three.parent, three.parent_digest) == (second.ref, two.content)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"entrypoint": "没有.py"}, "There is no file .*没有.py"),
        ({"entrypoint": "数据"}, "There is no file .*数据"),
        ({"python": "env/bin/python"}, "There is no file .*env/bin/python"),
        ({"data": "nowhere"}, "There is no data at .*nowhere"),
        ({"parent": 3}, "No model is registered"),
        ({"parent": "newest"}, "No model is registered"),
        ({"parent": "champion"}, "has no champion to go on from"),
        ({"epochs": 3}, "has no 'epochs'"),
        ({"entrypoint": "~nobodyhere/t.py"}, "Nothing can lie at ~nobodyhere/t.py: .*see entryp"),
        ({"entrypoint": "t" * 300}, r"Nothing can lie at t{80}: File name too long\. \(see entryp"),
        ({"data": "~nobodyhere/d"}, "Nothing can lie at ~nobodyhere/d: .*see data"),
        ({"data": "d" * 300}, r"Nothing can lie at d{80}: File name too long\. \(see data"),
        ({"python": "~nobodyhere/p"}, "Nothing can lie at ~nobodyhere/p: .*see python"),
        ({"python": "p" * 300}, r"Nothing can lie at p{80}: File name too long\. \(see python"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_left(
    shop: Shop, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(SlipwayError, match=said):
        shop.ask(**more)
    assert shop.kinds() == []


def test_a_training_is_read_from_under_the_home(shop: Shop) -> None:
    with pytest.raises(NotFound, match=f"trainings/{shop.model}.toml"):
        ask_training(shop.house, shop.model, RITA, None, release=False)
    with pytest.raises(Invalid, match="model name"):
        ask_training(shop.house, "../etc/passwd", RITA, None, release=False)
    kept = shop.house.settings.root / "trainings" / f"{shop.model}.toml"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(shop.write(data=str(shop.folder / "数据")).read_text())
    asked = ask_training(shop.house, shop.model, RITA, None, release=False)
    assert asked == find(shop.house, shop.model, asked.id)
    with pytest.raises(NotFound, match="'other-t-1'"):
        find(shop.house, shop.model, "other-t-1")


def test_a_viewer_may_not_ask(shop: Shop) -> None:
    with pytest.raises(Refused, match="vic is viewer and may not ask for a training"):
        shop.ask(who=Identity(name="vic", role="viewer"))
    assert shop.kinds() == []


def test_what_was_asked_is_frozen(shop: Shop) -> None:
    asked = shop.ask()
    shop.write("fail")
    shop.train(asked)
    assert shop.calls()[0]["how"] == "leave"


def test_an_id_that_is_known_is_found_again(shop: Shop) -> None:
    """Also where the file is gone by then: what was asked is frozen."""
    file = shop.write()
    ask = partial(ask_training, shop.house, shop.model, RITA, file, release=False)
    first = ask(training_id="t-1")
    file.unlink()
    assert ask(training_id="t-1") == first
    assert shop.kinds() == [ASKED]


def test_a_suite_is_named_by_its_own_digest(shop: Shop) -> None:
    suite = keyword_suite(shop.folder / "suite", LABELS)
    made = lineage_of(shop.house, shop.train(shop.ask(data="suite")))
    assert made is not None
    assert made.data == load_suite(suite.resolve()).digest


def test_only_one_works_on_a_training(shop: Shop) -> None:
    asked = shop.ask()
    refused = pytest.raises(Conflict, match=f"at work on training {asked.id}")
    with alone(shop.house, asked), refused, alone(shop.house, asked):
        pass
    with alone(shop.house, asked):
        pass


def test_what_brings_its_flow_down_is_not_begun_for_ever(shop: Shop) -> None:
    asked = shop.ask()
    for _ in range(MOST_ATTEMPTS):
        tell(shop.house, asked, BEGAN, "it began", {"lineage": {}, "run": ""})
    with pytest.raises(SlipwayError, match="begun 5 times and never came to an end"):
        shop.train(asked)
    assert not (shop.folder / "told").exists()


def begun(shop: Shop, asked: Asked) -> str:
    """Begin an attempt that registers a version and is killed; give its run."""
    registry = shop.house.registry
    run = registry.open_run(asked.id, asked.model)
    registry.register(asked.model, shop.folder.parent / "ready", run=run)
    lineage = origin(asked, None, None).as_json()
    tell(shop.house, asked, BEGAN, "it began", {"lineage": lineage, "run": run})
    return run


def test_what_was_registered_before_anybody_saw_the_end_is_passed_over(shop: Shop) -> None:
    asked = shop.ask("leave+register")
    first = begun(shop, asked)
    made = shop.train(asked)
    assert made.version == 2
    assert shop.kinds() == [ASKED, BEGAN, BEGAN, ENDED, TRAINED]
    assert lineage_of(shop.house, Candidate(model=shop.model, version=1)) is None
    assert shop.house.registry.facts(made)["run"] != first
    # That the first attempt of two ended well says nothing about the newest.
    again = shop.ask()
    tell(shop.house, again, ENDED, "it ended well", {"run": begun(shop, again)})
    begun(shop, again)
    assert shop.train(again).version == 5


@pytest.mark.parametrize("left", ["registered", "in --out"])
def test_what_ended_well_is_taken_and_not_run_again(shop: Shop, left: str) -> None:
    asked = shop.ask()
    if left == "registered":
        run = begun(shop, asked)
    else:
        run = shop.house.registry.open_run(asked.id, asked.model)
        shutil.copytree(shop.folder.parent / "ready", workplace(shop.house, asked) / "out")
        data = {"lineage": origin(asked, None, None).as_json(), "run": run}
        tell(shop.house, asked, BEGAN, "it began", data)
    tell(shop.house, asked, ENDED, "it ended well", {"run": run})
    assert shop.train(asked).version == 1
    assert shop.kinds() == [ASKED, BEGAN, ENDED, TRAINED]
    assert not (shop.folder / "told").exists()


@pytest.mark.parametrize("how", ["leave", "fail"])
def test_what_follows_its_end_is_made_up_for(shop: Shop, how: str) -> None:
    """Whoever told of the end may have been killed before the tags, the run, the workplace."""
    from mlflow import MlflowClient

    asked = shop.ask(how)
    with suppress(SlipwayError):
        shop.train(asked)
    registry = shop.house.registry
    run = registry.open_run(asked.id, asked.model)
    workplace(shop.house, asked).mkdir()
    before = {version: dict(tags) for version, tags in registry.tags(asked.model).items()}
    for version, tags in before.items():
        for name in tags:
            registry.untag(Candidate(model=asked.model, version=version), name)
    with suppress(SlipwayError):
        shop.train(asked)
    assert registry.tags(asked.model) == before
    status = MlflowClient(shop.house.settings.registry).get_run(run).info.status
    assert status == ("FINISHED" if how == "leave" else "FAILED")
    assert not workplace(shop.house, asked).exists()


def test_a_version_that_was_taken_away_since_is_still_told(shop: Shop) -> None:
    from mlflow import MlflowClient

    asked = shop.ask()
    made = shop.train(asked)
    MlflowClient(shop.house.settings.registry).delete_model_version(made.model, "1")
    assert shop.train(asked) == made


def test_a_full_disk_ends_no_training(shop: Shop) -> None:
    asked = shop.ask()
    log = log_of(shop.house, asked)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.symlink_to("/dev/full")
    with pytest.raises(Unavailable, match="No space left on device"):
        shop.train(asked)
    assert shop.kinds() == [ASKED, BEGAN]
    log.unlink()
    assert shop.train(asked).version == 1


def test_a_command_that_cannot_be_run_has_failed(shop: Shop) -> None:
    asked = shop.ask("x" * 200_000)
    with pytest.raises(SlipwayError, match="failed: .*Argument list too long"):
        shop.train(asked)
    assert shop.kinds() == [ASKED, BEGAN, FAILED]


def test_a_folder_that_is_gone_is_told(shop: Shop) -> None:
    asked = shop.ask(data=str(shop.folder.parent / "ready"))
    shutil.rmtree(shop.folder)
    with pytest.raises(SlipwayError, match=f"There is no folder {shop.folder}"):
        shop.train(asked)
    assert shop.kinds() == [ASKED, FAILED]


def test_a_registry_that_is_gone_ends_no_training(shop: Shop) -> None:
    asked = shop.ask()
    settings = Settings(home=shop.house.settings.home, registry_uri="http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        train(replace(shop.house, settings=settings), asked, lambda _line: None)
    assert shop.kinds() == [ASKED]
    assert shop.train(asked).version == 1


def copy(shop: Shop, made: Candidate, model: str) -> Candidate:
    from mlflow import MlflowClient

    client = MlflowClient(shop.house.settings.registry)
    copied = client.copy_model_version(f"models:/{made.model}/{made.version}", model)
    return Candidate(model=model, version=int(copied.version))


def test_copied_tags_are_not_believed(shop: Shop) -> None:
    made = shop.train(shop.ask())
    for model in (shop.model, f"{shop.model}-copy"):
        copied = copy(shop, made, model)
        assert shop.house.registry.facts(copied)["slipway.training"].startswith(shop.model)
        assert lineage_of(shop.house, copied) is None
    assert lineage_of(shop.house, made) is not None


def test_tags_follow_the_ledger(shop: Shop) -> None:
    made = shop.train(shop.ask())
    copied = copy(shop, made, shop.model)
    registry = shop.house.registry
    registry.tag(made, "slipway.seed", "8")
    said = repair(shop.house, shop.model)
    assert f"tag slipway.seed of {made.ref} was put right" in said
    assert registry.facts(made)["slipway.seed"] == "7"
    assert [name for name in registry.facts(copied) if name.startswith("slipway.")] == []
    assert repair(shop.house, shop.model) == []


def released(shop: Shop, version: int) -> tuple[Release, str, dict[str, Any]]:
    keyword_suite(shop.folder / "suite", LABELS)
    policy = shop.folder / "policy.toml"
    policy.write_text(POLICY.format(suite="suite", approvals=0, soak=1, lease=15))
    request = Request(model=shop.model, version=version, policy=policy)
    opened = open_release(shop.house, request, RITA)
    ((_, event),) = shop.house.ledger.events(opened.id)
    return opened, event.sentence, dict(event.data)


def test_a_release_tells_where_its_candidate_comes_from(shop: Shop) -> None:
    asked = shop.ask()
    made = shop.train(asked)
    opened, sentence, data = released(shop, made.version)
    lineage = lineage_of(shop.house, made)
    assert lineage is not None
    assert opened.candidate == made
    assert f"asks to release {made.ref}, trained by {asked.id}; nothing is" in sentence
    assert data["lineage"] == lineage.as_json()


@pytest.mark.parametrize("how", ["copied", "changed"])
def test_a_release_of_what_was_not_trained_here_says_nothing_of_it(shop: Shop, how: str) -> None:
    made = shop.train(shop.ask())
    if how == "copied":
        made = copy(shop, made, shop.model)
    else:
        (fetch(shop.house, made) / "notes.txt").write_text("other files under the same number")
    _, sentence, data = released(shop, made.version)
    assert "trained by" not in sentence
    assert "lineage" not in data


def test_what_is_dropped_is_found(shop: Shop) -> None:
    def waiting() -> list[str]:
        return [one.id for one in dropped(shop.house) if one.model == shop.model]

    plain, first, second = shop.ask(), shop.ask(release=True), shop.ask(release=True)
    assert waiting() == [plain.id, first.id, second.id]
    for one in (plain, first, second):
        shop.train(one)
    # Of those that are trained, only the newest is still worth a release.
    assert waiting() == [second.id]
    released(shop, 1)
    assert waiting() == []
    max_ = Identity(name="max", role="release-manager")
    roll_back(shop.house, shop.model, max_, "another comes")
    assert waiting() == [second.id]
    for one, still in ((second, [first.id]), (first, [])):
        tell(shop.house, one, NOT_RELEASED, "it cannot be", {}, once=NOT_RELEASED)
        assert waiting() == still
