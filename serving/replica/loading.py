"""From a verified folder to a scheduler that answers: load, warm, divide the threads."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from release.errors import Unsafe
from release.variants import Manifest, Task
from serving.replica.answers import reader_of
from serving.replica.batching import Scheduler
from serving.replica.engines import Engine, Tokens, finite, load, translating
from serving.replica.tuning import (
    Aim,
    Split,
    choose_split,
    lone_texts_a_second,
    texts_a_second,
)

SHORT, USUAL = 16, 32
"""Tokens of the texts that are measured with: a lone one, and those of a full batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a variant is to be run."""

    threads: int = 1
    """That compute, in all."""

    aim: Aim = Aim.THROUGHPUT
    device: str = ""
    """Empty where the manifest decides."""


def schedule(
    folder: Path,
    manifest: Manifest,
    how: How,
    say: Callable[[str], None],
    hand: Callable[[Callable[[], None]], object],
) -> Scheduler:
    """Load a variant and make it ready to answer.

    Args:
        folder: where it lies, verified.
        manifest: of it.
        how: it is run.
        say: writes a line into the log.
        hand: see `Scheduler`.

    Raises:
        Unsafe: the variant cannot be loaded, or answers with another shape than approved.
        Unavailable: its engine or device is not there.
    """
    with translating(f"{manifest.recipe} in {folder}"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokens = Tokens(folder, config, manifest.longest_input, manifest.rows)

        def engines(split: Split) -> list[Engine]:
            first = load(folder, manifest, split.threads, askers=split.runners, device=how.device)
            made = [first, *(first.twin() for _ in range(split.runners - 1))]
            for engine in made:
                _warm(engine, tokens, manifest)
            return made

        def measure(split: Split) -> float:
            made = engines(split)
            speed = _speed(made, tokens, how.aim)
            for engine in set(made):  # some are their own twins
                engine.close()
            return speed

        split, speeds = choose_split(how.threads, measure)
        for way, speed in speeds.items():
            say(f"computes {speed:.1f} texts a second on {way} threads ({how.aim})")
        if speeds:
            say(f"takes {split} threads")
        made = engines(split)
    return Scheduler(made, tokens, reader_of(manifest), hand=hand)


def _warm(engine: Engine, tokens: Tokens, manifest: Manifest) -> None:
    """Ask once for each shape, so that no request pays for the first time."""
    for ids, inputs in tokens.probes():
        (found,) = tokens.shares([ids], engine.predict(inputs))
        wanted = {
            Task.TEXT_CLASSIFICATION: (len(manifest.labels),),
            Task.TOKEN_CLASSIFICATION: (len(ids), len(manifest.labels)),
            Task.FEATURE_EXTRACTION: (manifest.width,),
        }[manifest.task]
        if found.shape != wanted:
            said = f"The model answers a text with shape {found.shape}, not {wanted}."
            raise Unsafe(said, "the manifest names its labels or its width")
        finite(found)  # `translating` gives it as an error of ours


def _speed(engines: list[Engine], tokens: Tokens, aim: Aim) -> float:
    if aim == Aim.LATENCY:
        return lone_texts_a_second(engines[0], tokens.lay([tokens.probe(SHORT)]))
    batch = [tokens.probe(USUAL)]
    while tokens.layout.joins([len(ids) for ids in batch], len(batch[0])):
        batch.append(batch[0])
    return texts_a_second(engines, tokens.lay(batch), len(batch))
