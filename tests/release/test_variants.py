import json
from dataclasses import replace

from release.variants import Manifest, Pooling, Task

PADDED = Manifest(
    candidate="docs-router@2",
    parent="sha256:00",
    recipe="openvino-int8",
    recipe_digest="sha256:01",
    task=Task.TEXT_CLASSIFICATION,
    labels=("a", "b"),
    longest_input=128,
    files={"model.bin": "sha256:02"},
    parity={"texts": 12.0},
)


def test_a_manifest_without_rows_has_the_digest_it_had_before_there_were_any() -> None:
    assert PADDED.digest.startswith("sha256:1fda4396307c3b63ab5d699d70b17c37")
    later = {"rows", "thresholds", "pooling", "normalize", "width"}
    assert not later & PADDED.as_json().keys()
    assert Manifest.from_json(PADDED.as_json()) == PADDED


def test_rows_are_part_of_what_is_approved() -> None:
    packed = replace(PADDED, rows=(16, 256))
    assert packed.digest != PADDED.digest
    assert Manifest.from_json(packed.as_json() | {"rows": [16, 256]}) == packed


def test_what_an_answer_depends_on_is_part_of_what_is_approved() -> None:
    changed = [
        replace(PADDED, thresholds={"a": 0.8}),
        replace(PADDED, task=Task.FEATURE_EXTRACTION, labels=(), width=32),
        replace(PADDED, pooling=Pooling.CLS),
        replace(PADDED, normalize=False),
    ]
    assert len({one.digest for one in [PADDED, *changed]}) == 1 + len(changed)
    for one in changed:
        assert Manifest.from_json(json.loads(json.dumps(one.as_json()))) == one
