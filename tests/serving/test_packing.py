"""Several texts in one row: nobody's answer depends on who lies beside them."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.client import replica_sessions
from serving.replica.choosing import FULL_ROW, Packed
from serving.replica.engines import Tokens, load
from serving.replica.verify import read_manifest
from serving.variants.packing import LARGEST_ROW, LONG_ROW, MOST_ERROR, rows_of
from tests.serving.conftest import Tiny

TEXTS = [f"the text {n} is about {word}" for n, word in enumerate(["alpha", "beta", "gamma"] * 9)]


def _packing(tiny: Tiny) -> tuple[Path, Tokens]:
    folder = tiny.folder(tiny.variant(1))
    manifest = read_manifest(folder)
    config = json.loads((folder / "config.json").read_text())
    return folder, Tokens(folder, config, manifest.longest_input, manifest.rows)


def test_the_manifest_says_which_rows_a_variant_takes(tiny: Tiny) -> None:
    for name, built in tiny.facts["built"].items():
        folder = tiny.folder(tiny.variant(*_named(name)))
        rows = read_manifest(folder).rows
        kinds = {"openvino": (16, 32, 64, FULL_ROW, LARGEST_ROW), "torch": (LONG_ROW,)}
        assert rows == kinds.get(read_manifest(folder).recipe.partition("-")[0], ())
        assert ("packing_error" in built["parity"]) == bool(rows)
        assert built["parity"].get("packing_error", 0.0) <= MOST_ERROR


def _named(name: str) -> tuple[int, str]:
    version, _, recipe = name.partition("/")
    return int(version), recipe


@pytest.mark.parametrize(
    ("longest", "rows"),
    [
        (16, (16, 32, 64, 128, 256)),
        (300, (16, 32, 64, 128, 256, 512)),
        (3000, (16, 32, 64, 128, 256, 512, 1024, 2048, 3000)),
    ],
)
def test_the_largest_row_holds_the_longest_text(longest: int, rows: tuple[int, ...]) -> None:
    assert rows_of(longest) == rows


def test_a_row_is_laid_out_text_behind_text(tiny: Tiny) -> None:
    _, tokens = _packing(tiny)
    row = {name: one.tolist() for name, one in tokens.lay([[5, 6, 7], [8, 9]]).items()}
    assert row["input_ids"] == [[5, 6, 7, 8, 9] + [0] * 11]
    assert row["position_ids"] == [[0, 1, 2, 0, 1] + [0] * 11]
    assert row["segment_ids"] == [[1, 1, 1, 2, 2] + [0] * 11]
    assert row["starts"] == [0, 3]


def _logits(tiny: Tiny, rows: list[list[int]]) -> NDArray[np.float32]:
    """Compute all texts, those of each row together."""
    folder, tokens = _packing(tiny)
    engine = load(folder, read_manifest(folder), 1)
    ids = tokens.encode(TEXTS)
    found = np.zeros((len(TEXTS), 3), dtype=np.float32)
    for row in rows:
        found[row] = engine.predict(tokens.lay([ids[place] for place in row]))[: len(row)]
    engine.close()
    return found


def test_answers_do_not_depend_on_the_neighbours(tiny: Tiny) -> None:
    alone = _logits(tiny, [[place] for place in range(len(TEXTS))])
    order = list(range(len(TEXTS)))[::-1]
    together = _logits(tiny, [order[:20], order[20:]])
    assert np.ptp(alone, axis=0).min() > 1, "the texts are told apart"
    assert together == pytest.approx(alone, abs=0.02)
    assert (together.argmax(axis=1) == alone.argmax(axis=1)).all()


def test_a_packed_variant_is_served_at_every_size(tiny: Tiny) -> None:
    variant = tiny.variant(1)
    with replica_sessions({variant.digest: tiny.folder(variant)}) as (session,):
        for count in (1, 2, 5, 27, 81):
            texts = (TEXTS * 3)[:count]
            found = session.predict(texts)
            assert [one.label for one in found] == [text.rsplit(" ", 1)[1] for text in texts]
        long = " ".join(["beta"] * 126)
        assert [one.label for one in session.predict([long, *TEXTS[:3], long])] == [
            "beta",
            "alpha",
            "beta",
            "gamma",
            "beta",
        ]


def test_a_layout_that_packs_is_what_the_scheduler_gets(tiny: Tiny) -> None:
    _, tokens = _packing(tiny)
    assert isinstance(tokens.layout, Packed)
    assert [one["input_ids"].shape for _, one in tokens.probes()] == [
        (1, row) for row in tokens.layout.rows
    ]
