"""What a candidate says of itself: its task, its labels, how much it reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from release.errors import Invalid
from release.variants import Pooling, Purpose, Task
from serving.variants.intake import HINT, read_json

FACTS = "slipway.json"
"""Optional file of a candidate; may hold `longest_input`, `task`, `thresholds`, `pooling` and
`normalize`."""

TASKS = {
    "ForSequenceClassification": Task.TEXT_CLASSIFICATION,
    "ForTokenClassification": Task.TOKEN_CLASSIFICATION,
    "Model": Task.FEATURE_EXTRACTION,
}
"""How the name of an architecture ends, and what it is for."""

OFFSET = frozenset({"camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta"})
"""Model types whose positions are counted from behind the padding's number, which costs places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a candidate says of itself."""

    task: Task
    labels: tuple[str, ...]
    """None where the task has none."""

    longest_input: int
    """Tokens."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    pooling: Pooling = Pooling.MEAN
    normalize: bool = True
    width: int = 0
    """See `Manifest`."""

    @property
    def purpose(self) -> Purpose:
        """What is to be made of its encoder's output."""
        return Purpose(task=self.task, pooling=self.pooling, normalize=self.normalize)


def read_facts(folder: Path) -> Facts:
    """Read what a candidate says of itself.

    Raises:
        Invalid: some of it is missing, wrong or not supported.
    """
    config = read_json(folder / "config.json")
    said = read_json(folder / FACTS) if (folder / FACTS).exists() else {}
    task = _task(config, said)
    vectors = task == Task.FEATURE_EXTRACTION
    labels = () if vectors else _labels(config)
    return Facts(
        task=task,
        labels=labels,
        longest_input=_longest(folder, config, said),
        thresholds=_thresholds(said, task, labels),
        width=_width(config) if vectors else 0,
        **(_vectors(said) if vectors else {}),
    )


def _task(config: Mapping[str, Any], said: Mapping[str, Any]) -> Task:
    if config.get("problem_type") == "multi_label_classification":
        raise Invalid(
            "The model gives several labels to one text (multi_label_classification in "
            "config.json), which is not supported yet.",
            "release a model with one label a text",
        )
    if (wanted := said.get("task")) == Task.FEATURE_EXTRACTION:
        return Task.FEATURE_EXTRACTION
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else named
    found = next((TASKS[one] for one in TASKS if str(first).endswith(one)), None)
    if found is None:
        raise Invalid(
            f"The architecture {first!r:.80} is not supported.",
            f"supported are those that end with {', '.join(TASKS)}",
        )
    if wanted not in (None, found):
        raise Invalid(
            f"The task of {first} cannot be {wanted!r:.80}; it is {found}.",
            f"see task in {FACTS}; any encoder may be for {Task.FEATURE_EXTRACTION}",
        )
    return found


def _thresholds(said: Mapping[str, Any], task: Task, labels: Sequence[str]) -> Mapping[str, float]:
    given = said.get("thresholds", {})
    if not isinstance(given, dict) or (given and task != Task.TEXT_CLASSIFICATION):
        raise Invalid(
            f"Thresholds give labels of {Task.TEXT_CLASSIFICATION} a probability, not "
            f"{given!r:.80}.",
            f"see thresholds in {FACTS}",
        )
    for label, one in given.items():
        if label not in labels:
            raise Invalid(
                f"A threshold is given to {label!r:.80}, which is no label.",
                f"labels are {', '.join(labels)!s:.200}",
            )
        if isinstance(one, bool) or not isinstance(one, int | float) or not 0 < one < 1:
            raise Invalid(
                f"The threshold of {label!r} must be a probability between 0 and 1, not "
                f"{one!r:.80}.",
                f"see thresholds in {FACTS}",
            )
    if given and len(given) == len(labels):
        raise Invalid(
            f"Every label has a threshold ({len(labels)} of them): a text may then have none.",
            "leave one without, to be given where no other is",
        )
    return {label: float(one) for label, one in given.items()}


def _vectors(said: Mapping[str, Any]) -> dict[str, Any]:
    pooling, normalize = said.get("pooling", Pooling.MEAN), said.get("normalize", True)
    if pooling not in list(Pooling):
        known = " or ".join(Pooling)
        raise Invalid(f"pooling must be {known}, not {pooling!r:.80}.", f"see pooling in {FACTS}")
    if not isinstance(normalize, bool):
        raise Invalid(
            f"normalize must be true or false, not {normalize!r:.80}.", f"see normalize in {FACTS}"
        )
    return {"pooling": Pooling(pooling), "normalize": normalize}


def _width(config: Mapping[str, Any]) -> int:
    width = config.get("hidden_size", config.get("dim"))
    if not isinstance(width, int) or width < 1:
        raise Invalid(f"config.json must give hidden_size as a number, not {width!r:.80}.", HINT)
    return width


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label")
    if not isinstance(named, dict) or len(named) < 2:
        raise Invalid(f"config.json must name two or more labels in id2label, not {named!r}.")
    try:
        labels = tuple(str(named[str(number)]) for number in range(len(named)))
    except KeyError as error:
        raise Invalid(f"id2label of config.json has no label {error}.") from error
    odd = [one for one in labels if not one.strip() or not one.isprintable()]
    if odd or len(set(labels)) != len(labels):
        raise Invalid(
            f"Labels must be different plain texts, unlike {[*labels][:20]!r:.200}.",
            "see id2label in config.json",
        )
    return labels


def _places(config: Mapping[str, Any]) -> int:
    """How many tokens have a position."""
    most, pad = config.get("max_position_embeddings"), config.get("pad_token_id")
    if not isinstance(most, int):
        limit = (
            f"config.json must give max_position_embeddings as a number of tokens, not {most!r}."
        )
        raise Invalid(limit, HINT)
    if str(config.get("model_type")) in OFFSET and isinstance(pad, int):
        return most - pad - 1
    return most


def _longest(folder: Path, config: Mapping[str, Any], said: Mapping[str, Any]) -> int:
    most = _places(config)
    longest = said.get("longest_input")
    if longest is None:
        longest = read_json(folder / "tokenizer.json").get("truncation") or most
        longest = longest.get("max_length", most) if isinstance(longest, dict) else longest
    if not isinstance(longest, int) or not 2 <= longest <= most:
        raise Invalid(
            f"The longest input must be within 2..{most} tokens, not {longest!r}.",
            f"write it as longest_input into {FACTS}",
        )
    return longest
