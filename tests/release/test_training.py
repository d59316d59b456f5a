import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.errors import Invalid
from release.training import Lineage, Training, read_progress

PLAIN = 'entrypoint = "train.py"\ndata = "数据"\n'


def test_a_plain_training_has_defaults() -> None:
    read = Training.parse(PLAIN)
    assert (read.entrypoint, read.data, read.python) == ("train.py", "数据", "")
    assert (read.parent, read.seed, read.minutes, read.arguments()) == ("none", 0, 60.0, [])
    assert read.text == PLAIN


def test_all_of_it_is_read() -> None:
    read = Training.parse(
        PLAIN
        + 'python = "env/bin/python"\nparent = 3\nseed = 7\nminutes = 0.5\n'
        + '[options]\nexamples = 1600\nrate = 5e-5\nname = "文档 router"\nfast = true\nbias = -1\n'
    )
    assert (read.python, read.parent, read.seed, read.minutes) == ("env/bin/python", 3, 7, 0.5)
    assert read.arguments() == [
        *("--examples", "1600", "--rate", "5e-05"),
        *("--name", "文档 router", "--fast", "true", "--bias", "-1"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("]", "is not TOML"),
        ('data = "d"', "names no entrypoint"),
        ('entrypoint = "t.py"', "names no data"),
        (PLAIN + "epochs = 3", "has no 'epochs'"),
        (PLAIN.replace('"数据"', "3"), "data must be a plain text of 1 to 1000 characters, not 3"),
        (PLAIN.replace("数据", ""), "data must be a plain text"),
        (PLAIN.replace("train.py", "train\\u0000.py"), "entrypoint must be a plain text"),
        (PLAIN + "python = 3.11", "python must be a plain text of 1 to 1000 characters, not 3.11"),
        (PLAIN + 'parent = "latest"', "not 'latest'"),
        (PLAIN + "parent = 0", "not 0"),
        (PLAIN + "parent = true", "not True"),
        (PLAIN + "seed = 1.5", "seed must be a whole number"),
        (PLAIN + "seed = -1", "seed must be 0 or more, not -1"),
        (PLAIN + "minutes = 0", "at most 10080, not 0"),
        (PLAIN + "minutes = nan", "minutes must be a number"),
        (PLAIN + "minutes = 20000", "at most 10080, not 20000"),
        (PLAIN + 'minutes = "long"', "minutes must be a number"),
        (PLAIN + "options = 3", "[options] must be a table"),
        (PLAIN + "[options]\nseed = 3", "seed can be read as --seed, which is given by Slipway"),
        (PLAIN + '[options]\ndat = "/other"', "dat can be read as --data, which is given by Slip"),
        (PLAIN + "[options]\no = 3", "o can be read as --out, which is given by Slipway"),
        (PLAIN + '[options]\nname = "--data=/other"', "name is '--data=/other', which would be re"),
        (PLAIN + "[options]\nrate = nan", "rate must be a text, a number, true or false, not nan"),
        (PLAIN + "[options]\nrate = -inf", "rate must be a text, a number, true or false, not -in"),
        (PLAIN + '[options]\n"a b" = 3', "'a b', which is no argument's name"),
        (PLAIN + '[options]\n"--x" = 3', "'--x', which is no argument's name"),
        (PLAIN + "[options]\nlayers = [1, 2]", "layers must be a text, a number"),
        (PLAIN + '[options]\nname = "a\\nb"', "name must be a text, a number"),
    ],
)
def test_what_breaks_a_rule_is_named(text: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        Training.parse(text)
    assert said in str(refused.value)


def test_a_lineage_says_where_a_version_comes_from() -> None:
    made = Lineage(
        training="docs-t-1",
        data="sha256:" + "d" * 64,
        code="sha256:" + "c" * 64,
        commit="a" * 40 + "+changes",
        parent="docs@1",
        parent_digest="sha256:" + "e" * 64,
        seed=20,
        python="3.11.7",
        options={"examples": 1600},
    )
    assert made.sentence == ("data dddddddddddd, code aaaaaaaaaaaa+changes, parent docs@1, seed 20")
    assert made.tags() == {
        "slipway.training": "docs-t-1",
        "slipway.data": made.data,
        "slipway.code": f"{made.commit} {made.code}",
        "slipway.parent": f"docs@1 {made.parent_digest}",
        "slipway.seed": "20",
    }
    assert Lineage.from_json(made.as_json()) == made


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("progress 0.4 epoch 2, loss 0.31", (0.4, "epoch 2, loss 0.31")),
        ("progress 1\r\n", (1.0, "")),
        ("  progress  7 训练", (1.0, "训练")),
        ("progress -3", (0.0, "")),
        ("progress inf", (1.0, "")),
        ("progress nan", None),
        ("progress soon", None),
        ("progress", None),
        ("progressing 0.4", None),
        ("", None),
    ],
)
def test_progress_is_read_from_a_line(line: str, read: tuple[float, str] | None) -> None:
    assert read_progress(line) == read


@given(st.text())
def test_no_line_is_too_odd(line: str) -> None:
    read = read_progress(f"progress {line}")
    assert read is None or (0 <= read[0] <= 1 and not math.isnan(read[0]))
