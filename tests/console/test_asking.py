from pathlib import Path

import pytest

from console.asking import Answers, send
from release.errors import Invalid


def test_answers_are_counted_by_version_and_kind_of_error() -> None:
    answers = Answers()
    for version in (1, 2, 2):
        answers.count({"status": 200, "version": version})
    for tokens in (70, 97):
        answers.count({"status": 400, "error": f"A text has {tokens} tokens."})
    answers.count({"status": 0, "error": "gone"})
    assert answers.good == {1: 1, 2: 2}
    assert answers.bad == {"A text has … tokens.": 2, "gone": 1}


@pytest.mark.parametrize(
    ("content", "rate", "said"),
    [
        ('{"text": "x"}', 0.0, "not 0 and"),
        ('{"text": "x"}', float("nan"), "not nan and"),
        ("", 1.0, "holds no texts"),
        ("[1]", 1.0, "holds no texts"),
    ],
)
def test_what_cannot_be_sent_is_said(tmp_path: Path, content: str, rate: float, said: str) -> None:
    (tmp_path / "texts.jsonl").write_text(content)
    with pytest.raises(Invalid, match=said):
        send("docs", tmp_path / "texts.jsonl", rate, 0)
