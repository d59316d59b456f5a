"""Ways to ask wrongly: what is asked, and in whose name. Light to import; `asking` asks."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.fakes.suite import LABELS, write_suite

Spoil = Callable[[Path], object]
"""Makes a good file or folder bad."""


_ID = re.compile(r"(?<=-\d-)[0-9a-f]{6}\b")


def plain(said: str, home: Path) -> str:
    """Take out what differs from run to run: the home folder, and the end of a release's id."""
    return _ID.sub("######", said.replace(str(home), "HOME"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What somebody types."""

    who: str
    words: tuple[str, ...]


def _swap(old: str, new: str) -> Spoil:
    def spoil(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text, old
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def _end(more: str) -> Spoil:
    return lambda path: path.write_text(path.read_text() + more, encoding="utf-8")


def _bytes(content: bytes) -> Spoil:
    def spoil(path: Path) -> None:
        path.write_bytes(content)

    return spoil


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _gateless(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(text.split("[[gates]]")[0] + text[text.index("[approval]") :], encoding="utf-8")


_GATE = "at_least = 0.5"
_STEP = "share = 50, soak_seconds = 0.5, least_requests = 10"

POLICIES: Mapping[str, Spoil] = {
    "policy-missing": Path.unlink,
    "policy-is-a-folder": _folder,
    "policy-not-toml": _end("]["),
    "policy-not-utf8": _bytes(b'[suite]\npath = "\xff"\n'),
    "policy-utf16": _bytes("[suite]\n".encode("utf-16")),
    "policy-endless-digits": _swap(_GATE, f"at_least = {'9' * 5000}"),
    "policy-unknown-table": _end("\n[gate]\nx = 1\n"),
    "policy-unknown-key": _swap("[suite]\n", "[suite]\nextra = 1\n"),
    "policy-table-as-number": lambda path: path.write_text("live = 3\n", encoding="utf-8"),
    "policy-no-gates": _gateless,
    "gate-unknown-metric": _swap('"accuracy"', '"bleu"'),
    "gate-beyond-reach": _swap(_GATE, "at_least = 7"),
    "gate-not-a-number": _swap(_GATE, "at_least = nan"),
    "gate-infinite": _swap(_GATE, "at_least = inf"),
    "gate-text": _swap(_GATE, 'at_least = "0.5"'),
    "gate-yes": _swap(_GATE, "at_least = true"),
    "gate-two-demands": _swap(_GATE, "at_least = 0.5\nat_most = 1"),
    "gate-no-demand": _swap(_GATE, ""),
    "variants-none": _swap('["openvino-int8"]', "[]"),
    "variants-unknown": _swap("openvino-int8", "gguf-q4"),
    "variants-twice": _swap('["openvino-int8"]', '["openvino-int8", "openvino-int8"]'),
    "steps-over-100": _swap("share = 50", "share = 140"),
    "steps-that-fall": _swap(_STEP + "}", _STEP + "}, {share = 20}"),
    "steps-that-stop-short": _swap("share = 100", "share = 90"),
    "step-without-share": _swap("share = 50, ", ""),
    "soak-negative": _swap("soak_seconds = 0.5", "soak_seconds = -1"),
    "bake-negative": _swap("bake_seconds = 0.5", "bake_seconds = -2"),
    "sample-huge": _swap("least_requests = 10", "least_requests = 10000000000"),
    "sample-fraction": _swap("least_requests = 10", "least_requests = 1.5"),
    "approvals-negative": _swap("count = 1", "count = -1"),
    "approvals-unknown-role": _swap('"release-manager"', '"boss"'),
    "lease-too-short": _swap("lease_seconds = 15", "lease_seconds = 0"),
    "harm-beyond-all": _swap("harm_budget = 0.5", "harm_budget = 2"),
    "guard-leaves-no-time": _end("canary_ms = 6000\n"),
    "suite-elsewhere": _swap("/suite", "/elsewhere"),
    "suite-of-nobody": lambda path: _set_suite(path, "~nobody-of-this-name/suite"),
    "suite-name-endless": lambda path: _set_suite(path, "s" * 5000),
}
"""What is done to a good policy."""


def _set_suite(path: Path, where: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    said = [f'path = "{where}"' if line.startswith("path = ") else line for line in lines]
    path.write_text("\n".join(said), encoding="utf-8")


FLOORS: Mapping[str, str] = {
    "floor-not-toml": "[approval\n",
    "floor-unknown-table": "[plan]\nbake_seconds = 1\n",
    "floor-unknown-key": '[approval]\npeople = ["ada"]\n',
    "floor-text-for-count": '[approval]\ncount = "two"\n',
    "floor-unknown-metric": '[[gates]]\nmetric = "bleu"\nat_least = 0.1\n',
    "floor-not-utf8": "\udcff",
}
"""What the platform's floor says."""


def _facts(**more: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "suite.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return spoil


def _file(name: str, content: bytes) -> Spoil:
    return lambda folder: _bytes(content)(folder / name)


def _line(line: str) -> Spoil:
    """Put a line into the test split, and let `suite.json` know of it."""

    def spoil(folder: Path) -> None:
        path = folder / "test.jsonl"
        content = path.read_text(encoding="utf-8") + line + "\n"
        path.write_text(content, encoding="utf-8")
        facts = json.loads((folder / "suite.json").read_text())
        facts["splits"]["test"]["sha256"] = sha256(content.encode()).hexdigest()
        (folder / "suite.json").write_text(json.dumps(facts))

    return spoil


def _few(folder: Path) -> None:
    rows = [(f"text {n} about {LABELS[n % 3]}", LABELS[n % 3]) for n in range(24)]
    write_suite(folder, LABELS, {"calibration": rows[:12], "test": rows[12:]})


def _no_test(folder: Path) -> None:
    write_suite(folder, LABELS, {"calibration": [("about alpha", "alpha")], "test": []})


def _outside(folder: Path) -> None:
    facts = json.loads((folder / "suite.json").read_text())
    facts["splits"]["test"]["file"] = "../outside.jsonl"
    (folder / "suite.json").write_text(json.dumps(facts))


SUITES: Mapping[str, Spoil] = {
    "suite-changed": lambda folder: _end("\n")(folder / "test.jsonl"),
    "suite-not-json": _file("suite.json", b"{"),
    "suite-too-deep": _file("suite.json", b"[" * 200_000),
    "suite-of-a-list": _file("suite.json", b"[1]"),
    "suite-without-splits": _file("suite.json", b'{"name": "s", "labels": ["alpha", "beta"]}'),
    "suite-splits-as-list": _facts(splits=[]),
    "suite-one-label": _facts(labels=["alpha"]),
    "suite-label-twice": _facts(labels=["alpha", "beta", "gamma", "alpha"]),
    "suite-other-labels": _facts(labels=[*LABELS, "delta"]),
    "suite-unknown-label": _line('{"text": "about omega", "label": "omega"}'),
    "suite-shared-text": _line('{"text": "calibration number 0 is about alpha", "label": "alpha"}'),
    "suite-without-texts": _no_test,
    "suite-of-few-texts": _few,
    "suite-outside": _outside,
    "suite-file-missing": lambda folder: (folder / "test.jsonl").unlink(),
    "suite-not-utf8": lambda folder: _spoilt_bytes(folder, b"\xff\xfe\n"),
    "line-not-json": _line("{"),
    "line-without-label": _line('{"text": "one"}'),
    "line-half-a-character": _line('{"text": "\\ud800 rain", "label": "alpha"}'),
    "line-empty-text": _line('{"text": "  ", "label": "alpha"}'),
}
"""What is done to a good suite."""


def _spoilt_bytes(folder: Path, more: bytes) -> None:
    path = folder / "test.jsonl"
    content = path.read_bytes() + more
    path.write_bytes(content)
    facts = json.loads((folder / "suite.json").read_text())
    facts["splits"]["test"]["sha256"] = sha256(content).hexdigest()
    (folder / "suite.json").write_text(json.dumps(facts))


def _config(**more: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    return spoil


def _without(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def _link(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/hostname")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _tokenizer(folder: Path) -> None:
    (folder / "slipway.json").unlink()
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation": [8]}))


CANDIDATES: Mapping[str, Spoil] = {
    "files-none": _empty,
    "files-pickle": _file("optimizer.pkl", b"\x80\x04."),
    "files-pickle-as-json": _file("state.json", b"\x80\x04\x95."),
    "files-archive-as-text": _file("notes.txt", b"PK\x03\x04rest"),
    "files-torch-weights": _file("pytorch_model.bin", b"PK\x03\x04"),
    "files-code": _file("modeling.py", b"import os\n"),
    "files-link": _link,
    "weights-that-are-none": _file("model.safetensors", b"GGUF and something"),
    "weights-cut-short": _file("model.safetensors", b"\xff\xff\x00\x00\x00\x00\x00\x00{"),
    "tokenizer-missing": _without("tokenizer.json"),
    "tokenizer-truncation-odd": _tokenizer,
    "config-code-of-its-own": _config(auto_map={"AutoModel": "modeling.Mine"}),
    "config-not-json": _file("config.json", b"{'a': 1}"),
    "config-a-list": _file("config.json", b"[]"),
    "config-too-deep": _file("config.json", b"[" * 200_000),
    "config-one-label": _config(id2label={"0": "alpha"}),
    "config-labels-with-a-gap": _config(id2label={"0": "alpha", "2": "beta"}),
    "config-architecture": _config(architectures=["LlamaForCausalLM"]),
    "config-architecture-odd": _config(architectures={"a": "BertForSequenceClassification"}),
    "config-without-positions": _config(max_position_embeddings=None),
    "input-beyond-positions": _file("slipway.json", b'{"longest_input": 4096}'),
    "input-not-whole": _file("slipway.json", b'{"longest_input": true}'),
}
"""What is done to a good candidate before it is registered."""

_LINES = {"entrypoint": '"train.py"', "data": '"good.toml"'}


def _training(more: str = "", **lines: str) -> str:
    """Write a training, good but for some of its lines, each a value in TOML."""
    return "".join(f"{name} = {value}\n" for name, value in (_LINES | lines).items()) + more


TRAININGS: Mapping[str, str] = {
    "training-not-toml": "][",
    "training-unknown-key": _training(epochs="3"),
    "training-without-data": 'entrypoint = "train.py"\n',
    "training-entrypoint-missing": _training(entrypoint='"nothing.py"'),
    "training-entrypoint-of-nobody": _training(entrypoint='"~nobody-of-this-name/t.py"'),
    "training-entrypoint-endless": _training(entrypoint=f'"{"t" * 300}"'),
    "training-data-of-nobody": _training(data='"~nobody-of-this-name/data"'),
    "training-data-endless": _training(data=f'"{"d" * 300}"'),
    "training-python-endless": _training(python=f'"{"p" * 300}"'),
    "training-parent-unknown": _training(parent="9"),
    "training-parent-no-champion": _training(parent='"champion"'),
    "training-minutes-none": _training(minutes="0"),
    "training-seed-negative": _training(seed="-1"),
    "training-option-ours": _training('[options]\ndat = "/elsewhere"\n'),
    "training-option-argument": _training('[options]\nname = "--data=/elsewhere"\n'),
    "training-option-not-a-number": _training("[options]\nrate = nan\n"),
}
"""What a training says; `train.py` and `good.toml` lie beside it."""

_POLICY = ("--policy", "HOME/good.toml")
_RELEASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "name-unknown": ("rita", ("nothing",)),
    "name-leads-elsewhere": ("rita", ("../etc",)),
    "name-upper-case": ("rita", ("Tiny",)),
    "name-chinese": ("rita", ("文档路由",)),
    "name-empty": ("rita", ("",)),
    "name-too-long": ("rita", ("a" * 64,)),
    "version-unknown": ("rita", ("tiny", "--version", "9")),
    "version-none": ("rita", ("tiny", "--version", "0")),
    "release-in-production": ("rita", ("crowned", "--version", "1")),
    "release-open-already": ("rita", ("waiting",)),
    "release-by-a-viewer": ("vera", ("tiny",)),
    "release-by-one-disabled": ("otto", ("tiny",)),
    "release-by-nobody": ("", ("tiny",)),
}

COMMANDS: Mapping[str, Command] = {
    **{
        name: Command(who=who, words=("release", *words, *_POLICY))
        for name, (who, words) in _RELEASES.items()
    },
    "policy-of-its-own-missing": Command(who="rita", words=("release", "tiny")),
    "identity-taken": Command(who="ada", words=("identity", "add", "rita")),
    "identity-role": Command(who="ada", words=("identity", "add", "eve", "--role", "boss")),
    "identity-name": Command(who="ada", words=("identity", "add", "Eve!")),
    "identity-ownerless": Command(who="ada", words=("identity", "add", "b", "--owner", "nobody")),
    "identity-mighty-machine": Command(
        who="ada", words=("identity", "add", "b", "--role", "admin", "--owner", "ada")
    ),
    "identity-by-no-admin": Command(who="rita", words=("identity", "add", "eve")),
    "identity-unknown": Command(who="ada", words=("identity", "disable", "eve")),
    "identity-last-admin": Command(who="ada", words=("identity", "disable", "ada")),
    "approve-unknown": Command(who="max", words=("approve", "nothing-1-abc")),
    "approve-own": Command(who="mia", words=("approve", "waiting")),
    "approve-by-a-requester": Command(who="rita", words=("approve", "waiting")),
    "approve-by-a-viewer": Command(who="vera", words=("approve", "waiting")),
    "approve-twice": Command(who="max", words=("approve", "waiting", "--why", "again")),
    "approve-closed": Command(who="max", words=("approve", "CLOSED")),
    "approve-none-open": Command(who="max", words=("approve", "closed")),
    "approve-too-early": Command(who="max", words=("approve", "early")),
    "rollback-unknown": Command(who="max", words=("rollback", "nothing")),
    "rollback-by-a-requester": Command(who="rita", words=("rollback", "crowned")),
    "rollback-to-nothing": Command(who="max", words=("rollback", "crowned")),
    "reject-unknown": Command(who="max", words=("reject", "nothing-1-abc")),
    "training-missing": Command(who="rita", words=("retrain", "tiny")),
    "training-by-a-viewer": Command(who="vera", words=("retrain", "tiny")),
    "training-of-no-name": Command(who="rita", words=("retrain", "../tiny")),
    "plan-unknown": Command(who="", words=("plan", "nothing", *_POLICY)),
    "plan-policy-missing": Command(who="", words=("plan", "tiny")),
    "watch-unknown": Command(who="", words=("watch", "nothing")),
    "report-unknown": Command(who="", words=("report", "nothing")),
    "report-nowhere": Command(who="", words=("report", "early", "--out", "HOME/good.toml/x.html")),
    "register-nowhere": Command(who="", words=("register", "tiny", "HOME/nowhere")),
    "register-name": Command(who="", words=("register", "../tiny", "HOME/made/2")),
    "register-pickle": Command(who="", words=("register", "tiny", "HOME/spoilt/files-pickle")),
    "first-policy-beyond": Command(
        who="", words=("policy", "tiny", "--suite", "HOME/suite", "--accuracy", "7")
    ),
    "first-policy-nan": Command(
        who="", words=("policy", "tiny", "--suite", "HOME/suite", "--accuracy", "nan")
    ),
    "first-policy-suiteless": Command(who="", words=("policy", "tiny", "--suite", "HOME/none")),
    "table-missing": Command(who="", words=("suite", "HOME/none.csv", "HOME/out")),
    "table-encoding": Command(
        who="", words=("suite", "HOME/suite/test.jsonl", "HOME/out", "--encoding", "morse")
    ),
    "table-column": Command(
        who="", words=("suite", "HOME/suite/test.jsonl", "HOME/out", "--label", "answer")
    ),
    "table-train-beyond": Command(
        who="", words=("suite", "HOME/suite/test.jsonl", "HOME/out", "--train", "7")
    ),
    "table-folder-taken": Command(who="", words=("suite", "HOME/suite/test.jsonl", "HOME/suite")),
    "traffic-file-missing": Command(who="", words=("traffic", "tiny", "HOME/none.jsonl")),
    "traffic-rate": Command(
        who="", words=("traffic", "tiny", "HOME/suite/test.jsonl", "--rate", "-1")
    ),
    "history-unknown": Command(who="max", words=("history", "nothing")),
}
"""What is typed; HOME and CLOSED stand for what a run has of its own."""

IDS = [*POLICIES, *FLOORS, *SUITES, *CANDIDATES, *TRAININGS, *COMMANDS]
