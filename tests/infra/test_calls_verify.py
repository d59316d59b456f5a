"""A journal proves itself: whatever is edited, deleted, moved or cut is found."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.calls.checkpoints import Checkpoint, Signer
from infra.calls.proofs import Known, Proof
from infra.calls.vault import Vault
from infra.calls.verify import Segment, beside, prove, segments_in
from serving.journal import JournalWriter
from tests.fakes.journals import DAY, a_journal, signed, write_call

EDITS = 10_000


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Checkpoint]:
    return a_journal(tmp_path, monkeypatch)


def known(place: Path, anchor: Checkpoint | None = None, **more: object) -> Known:
    secrets = place.parents[1] / "secrets"
    return Known(
        beside=beside(place),
        anchors=[("an anchor", anchor)] if anchor else [],
        public=Signer(secrets).public,
        vault=Vault(secrets),
        **more,  # type: ignore[arg-type]
    )


def proof_of(place: Path, anchor: Checkpoint | None = None, **more: object) -> Proof:
    return prove(place.name, segments_in(place), known(place, anchor, **more))


def test_a_journal_as_it_was_written_is_proven_to_its_anchor(
    place: tuple[Path, Checkpoint],
) -> None:
    found = proof_of(*place)
    assert found.faults == []
    assert (found.calls, found.first, found.last, found.anchored) == (30, 1, 30, 30)
    assert found.erased == 0


def _edit(chance: random.Random, lines: list[bytes]) -> None:
    number = chance.randrange(len(lines))
    line = bytearray(lines[number])
    at = chance.randrange(len(line))
    match chance.randrange(3):
        case 0:
            line[at] = chance.choice([b for b in range(256) if b != line[at]])
        case 1:
            del line[at]
        case _:
            line.insert(at, chance.randrange(256))
    lines[number] = bytes(line)


def _delete(chance: random.Random, lines: list[bytes]) -> None:
    at = chance.randrange(len(lines))
    del lines[at : at + chance.randrange(1, 4)]


def _move(chance: random.Random, lines: list[bytes]) -> None:
    one, other = chance.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]


def _double(chance: random.Random, lines: list[bytes]) -> None:
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))


def _cut(chance: random.Random, lines: list[bytes]) -> None:
    del lines[chance.randrange(len(lines)) :]
    if lines and chance.random() < 0.5:
        lines[-1] = lines[-1][: chance.randrange(len(lines[-1]))]


WAYS: list[Callable[[random.Random, list[bytes]], None]] = [_edit, _delete, _move, _double, _cut]


def test_ten_thousand_edits_deletions_moves_and_cuts_are_all_found(
    place: tuple[Path, Checkpoint],
) -> None:
    folder, anchor = place
    chance = random.Random(7)
    before = list(segments_in(folder))
    told, missed = known(folder, anchor), []
    for turn in range(EDITS):
        lines = [line for _, content in before for line in content.splitlines(keepends=True)]
        ends = [sum(content.count(b"\n") for _, content in before[: n + 1]) for n in range(2)]
        way = WAYS[turn % len(WAYS)]
        way(chance, lines)
        after = _again(lines, ends)
        if b"".join(c for _, c in after) == b"".join(c for _, c in before):
            continue
        if prove(folder.name, after, told).good:
            missed.append((turn, way.__name__))
    assert missed == []


def _again(lines: list[bytes], ends: list[int]) -> list[Segment]:
    first, second = ends
    parts = [lines[:first], lines[first:second], lines[second:]]
    return [(number, b"".join(part)) for number, part in enumerate(parts, 1)]


def test_the_first_line_that_is_wrong_is_named(place: tuple[Path, Checkpoint]) -> None:
    folder, anchor = place
    path = folder / "00000002.jsonl"
    was = path.read_bytes()
    lines = was.splitlines(keepends=True)

    def first(changed: list[bytes]) -> str:
        path.write_bytes(b"".join(changed))
        return str(proof_of(folder, anchor).faults[0])

    edited = lines[3].replace(b'"user":"ann"', b'"user":"eve"').replace(b"bob", b"eve")
    assert first([*lines[:3], edited, *lines[4:]]) == (
        "segment 2, line 4: call 13 was changed, or something before it is missing."
    )
    assert first([*lines[:3], *lines[5:]]) == (
        "segment 2, line 4: calls 13 to 14 are missing before it."
    )
    assert "calls 13 to 13 are missing" in first([*lines[:3], lines[4], lines[3], *lines[5:]])
    second = str(proof_of(folder, anchor).faults[1])
    assert second == "segment 2, line 5: call 13 does not belong here; call 15 would."
    path.unlink()
    assert str(proof_of(folder, anchor).faults[0]) == "segment 3: segments 2 to 2 are missing."


def test_a_cut_is_found_up_to_the_last_anchor_and_no_further(tmp_path: Path) -> None:
    vault, signer = Vault(tmp_path / "secrets"), Signer(tmp_path / "secrets")
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    for _ in range(5):
        write_call(writer, vault)
    anchor = signed(writer, signer)
    write_call(writer, vault)
    path = writer.place / "00000001.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[: content[:-1].rfind(b"\n") + 1])
    found = proof_of(writer.place, anchor)
    assert found.good and (found.last, found.anchored) == (5, 5)
    (writer.place / "checkpoints").unlink()
    path.write_bytes(b"".join(content.splitlines(keepends=True)[:4]))
    found = proof_of(writer.place, anchor)
    assert [str(one) for one in found.faults] == [
        "segment 1: the journal ends at call 3, and a checkpoint knows call 5: its end was cut off."
    ]


def test_a_chain_that_was_made_anew_meets_no_anchor(
    place: tuple[Path, Checkpoint], tmp_path: Path
) -> None:
    folder, anchor = place
    for path in folder.iterdir():
        path.unlink()
    writer = JournalWriter(tmp_path / "journal", "host/g1")
    vault = Vault(tmp_path / "secrets")
    for _ in range(30):
        write_call(writer, vault)
    writer.close()
    assert proof_of(folder).good
    assert "made anew" in str(proof_of(folder, anchor).faults[0])


def test_a_checkpoint_that_nobody_signed_is_told(place: tuple[Path, Checkpoint]) -> None:
    folder, anchor = place
    path = folder / "checkpoints"
    path.write_bytes(path.read_bytes().replace(b'"sequence":30', b'"sequence":29'))
    assert "no checkpoint that was signed" in str(proof_of(folder, anchor).faults[0])


def test_segments_that_were_removed_lawfully_are_not_missed(
    place: tuple[Path, Checkpoint],
) -> None:
    folder, anchor = place
    (folder / "00000001.jsonl").unlink()
    assert "all before it is missing, up to call 10" in str(proof_of(folder, anchor).faults[0])
    found = proof_of(folder, anchor, removed=1)
    assert found.good and (found.first, found.anchored) == (11, 30)


def test_erased_payloads_are_counted_and_those_that_nobody_recorded_too(
    place: tuple[Path, Checkpoint],
) -> None:
    folder, anchor = place
    assert Vault(folder.parents[1] / "secrets").destroy("default", DAY)
    found = proof_of(folder, anchor)
    assert found.good and (found.erased, found.unrecorded) == (30, 30)
    found = proof_of(folder, anchor, erasures={("default", DAY): 0})
    assert (found.erased, found.unrecorded) == (30, 0)
