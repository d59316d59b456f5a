"""The report: all that it promises, and nothing that comes from outside."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation import markdown
from evaluation.page import html
from release.dossier import Dossier
from release.releases import Event
from tests.fakes.dossier import (
    LABELS,
    LINEAGE,
    SENTENCE,
    a_dossier,
    entity_dossier,
    pair_dossier,
)
from tests.fakes.nouns import a_release


@pytest.fixture(scope="module")
def dossier(tmp_path_factory: pytest.TempPathFactory) -> Dossier:
    return a_dossier(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def page(dossier: Dossier) -> str:
    return html(dossier)


class Elements(HTMLParser):
    """Every element's name and attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said += data


def test_a_page_asks_nobody_for_anything(page: str) -> None:
    elements = Elements(page).seen
    assert not {"script", "link", "iframe", "img", "object", "image"} & {tag for tag, _ in elements}
    for tag, attributes in elements:
        for name in ("src", "href", "xlink:href", "data", "action"):
            target = attributes.get(name) or ""
            # References within the page, and one link that a person may follow.
            assert target.startswith("#") or not target or tag == "a", (tag, target)
    assert not re.search(r"@import|url\((?!#)", page)


def test_what_comes_from_outside_stays_text(page: str) -> None:
    assert "<script>" not in page
    assert "<b>markup</b>" not in page
    said = Elements(page).said
    assert SENTENCE in said
    assert all(label in said for label in LABELS)


def test_a_page_holds_what_it_promises(dossier: Dossier, page: str) -> None:
    said = Elements(page).said
    for words in (
        "docs-router@2/openvino-int8 was chosen",
        "passed, but costs more",
        "chosen: it passed",
        "label=数据库",
        "characters=33-64",
        "Calibration",
        "Latency by length",
        "max approved",
        LINEAGE.sentence,
        "sha256:c0de",
        "数据",
        dossier.release.policy.digest,
    ):
        assert words in said, words
    for finding in dossier.verdicts[dossier.reports[1].digest].findings:
        assert finding.reason in said
    assert page.count("<svg") == 6
    assert "DejaVu" not in page and "font-family: var(--sans)" in page
    rows = re.findall(r"<td>(5\xa0%|bake)</td>", page)
    assert rows == ["5\xa0%", "bake"]
    # No line ends between a number and its sign.
    assert not re.search(r"\d %", page)


def test_the_same_dossier_gives_the_same_page(dossier: Dossier, page: str) -> None:
    assert html(dossier) == page


def test_a_page_stays_small_with_many_labels(dossier: Dossier) -> None:
    labels = tuple(f"label {n}" for n in range(150))
    counts = tuple(tuple(int(row == column) for column in range(151)) for row in range(150))
    slices = {f"label={one}": dict(dossier.reports[0].slices["label=alpha"]) for one in labels}
    many = [
        replace(one, labels=labels, confusion=counts, slices=slices, champion=None)
        for one in dossier.reports
    ]
    assert len(html(replace(dossier, reports=tuple(many)))) < 1_000_000


def test_a_release_that_was_only_opened_has_a_page_too() -> None:
    bare = Dossier(release=a_release())
    said = Elements(html(bare)).said
    assert "Nothing was measured" in said
    assert "It has had no traffic yet" in said
    assert "docs-router@2: preparing" in markdown.render(bare)


def test_markdown_tells_the_same(dossier: Dossier) -> None:
    page = markdown.render(dossier)
    for one in dossier.reports:
        for finding in dossier.verdicts[one.digest].findings:
            assert finding.reason in page
    assert "Not chosen: passed, but costs more" in page
    assert "| label=数据库 | 60 |" in page
    assert "http://127.0.0.1:5000" in page
    assert LINEAGE.sentence in page
    assert all(line.count("|") in (0, 5, 6) for line in page.splitlines() if "costs" not in line)


def test_a_page_of_entities_tells_each_label(tmp_path: Path) -> None:
    dossier = entity_dossier(tmp_path / "suite")
    page = html(dossier)
    said = " ".join(Elements(page).said.split())
    assert "Label by label" in said
    for label in ("all", "PER", "LOC"):
        # Precision, recall and F1, each with its interval; then the champion's F1.
        assert re.search(rf"<td>{label}</td>(<td[^>]*>[^<]*</td>){{6}}</tr>", page), label
    cells = re.findall(r"<td>LOC</td>(.*?)</tr>", page)[0]
    assert len(re.findall(r"\d+\.\d\xa0% \[\d+\.\d, \d+\.\d\]", cells)) == 4
    # The champion named no place: its F1 is 0, which Wilson widens.
    assert ">0.0\xa0% [0.0," in cells
    assert "entity F1" in said and "Latency by length" in said and "≥ 0.5 (n=160" in said
    for words in ("Calibration", "What is taken for what", "Likeness", "accuracy", "not measured"):
        assert words not in said, words
    # Variants, slices, latency and rollout; nothing stands there empty.
    assert page.count("<svg") == 4
    shown = markdown.render(dossier)
    assert "| label | precision | recall | F1 |" in shown
    assert re.search(r"\| LOC \| \d+\.\d % \[.*\] \| \d", shown)
    assert "| slice | texts | entity F1 | champion | difference |" in shown
    assert "accuracy" not in shown and "not measured" not in shown


def test_a_page_of_vectors_shows_likeness(tmp_path: Path) -> None:
    dossier = pair_dossier(tmp_path / "suite")
    page = html(dossier)
    said = " ".join(Elements(page).said.split())
    assert "A dot a pair of texts: 400 of 600, spread evenly over the suite." in said
    assert "cosine of the vectors" in said and "similarity as labelled" in said
    # A correlation is no percent.
    assert re.search(r"<b>0\.9\d\d</b><span class=\"change\">\+0\.\d{3}, was 0\.\d{3}<", page)
    assert "pairs" in said and "least cosine to its parent" in said
    for words in ("Calibration", "What is taken for what", "Label by label", "accuracy"):
        assert words not in said, words
    assert page.count("<svg") == 5
    shown = markdown.render(dossier)
    assert "| slice | pairs | Spearman correlation | champion | difference |" in shown
    assert re.search(r"\| Pearson correlation \| 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] \|", shown)


def test_what_has_no_pairs_has_no_empty_plot(tmp_path: Path) -> None:
    dossier = pair_dossier(tmp_path / "suite")
    bare = [replace(one, pairs=(), champion=None, slices={}) for one in dossier.reports]
    page = html(replace(dossier, reports=tuple(bare)))
    assert "Likeness" not in page and page.count("<svg") == 2


def test_a_slice_that_was_only_timed_has_no_row_of_its_own(tmp_path: Path) -> None:
    dossier = pair_dossier(tmp_path / "suite")
    timed = {
        name: {metric: one for metric, one in measured.items() if metric.startswith("latency")}
        for name, measured in dossier.reports[0].slices.items()
    }
    only = replace(dossier, reports=tuple(replace(one, slices=timed) for one in dossier.reports))
    assert "| characters=" not in markdown.render(only)
    page = html(only)
    assert "Slice by slice" not in page and "Latency by length" in page


def test_page_and_markdown_tell_what_came_after(dossier: Dossier) -> None:
    event = Event(kind="rolled-back", at=200.0, actor="max", sentence="max put <b>it</b> back")
    told = replace(dossier, since=event)
    assert (
        "Since then, 1970-01-01 00:03:20 UTC: max put <b>it</b> back" in Elements(html(told)).said
    )
    assert "**Since then, 1970-01-01 00:03:20 UTC:** max put <b>it</b> back" in markdown.render(
        told
    )
    assert "Since then" not in html(dossier) + markdown.render(dossier)
