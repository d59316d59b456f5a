"""How a model's next version is trained, and what is known of where a version comes from. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from release.errors import Invalid
from release.reading import known, number, table, text, toml, whole

Option = str | int | float | bool

PARENTS = ("champion", "newest", "none")
"""Parents that a training may name; any other is a version's number."""

OURS = frozenset({"data", "out", "seed", "parent", "register"})
"""Arguments that Slipway itself gives to an entrypoint."""

USUAL_MINUTES, MOST_MINUTES = 60.0, 10_080.0

_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_KNOWN = frozenset({"entrypoint", "python", "data", "parent", "seed", "minutes", "options"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a user's own program trains a model. Paths start where the file of it lies."""

    entrypoint: str
    """The program's file, in Python."""

    data: str
    """Folder or file that it learns from."""

    python: str = ""
    """Interpreter of its own environment; empty means the one that Slipway runs in."""

    parent: str | int = "none"
    """Version to go on from: one of `PARENTS`, or a number."""

    seed: int = 0
    minutes: float = USUAL_MINUTES
    """It is ended after this."""

    options: Mapping[str, Option] = field(default_factory=dict)
    """Arguments of its own."""

    text: str = ""
    """The TOML as it was read."""

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= MOST_MINUTES:
            raise Invalid(
                f"minutes must be more than 0 and at most {MOST_MINUTES:g}, not {self.minutes:g}.",
                "it is how long the training may take",
            )
        if self.seed < 0:
            raise Invalid(f"seed must be 0 or more, not {self.seed}.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a training.

        Args:
            text: TOML.

        Raises:
            Invalid: naming the value and the limit.
        """
        data = dict(toml(text, "training"))
        known(data, "The training", set(_KNOWN))
        options = _options(table(data, "options"))
        for name in ("entrypoint", "data"):
            if name not in data:
                raise Invalid(f"The training names no {name}.", f'such as {name} = "…"')
        minutes = data.get("minutes", USUAL_MINUTES)
        number(minutes, "minutes")
        return cls(
            entrypoint=_path(data, "entrypoint"),
            data=_path(data, "data"),
            python=_path(data, "python") if "python" in data else "",
            parent=_parent(data.get("parent", "none")),
            seed=whole(data.get("seed", 0), "seed"),
            minutes=float(minutes),
            options=options,
            text=text,
        )

    def arguments(self) -> list[str]:
        """Give its own options as the arguments of a command."""
        return [
            word for name, value in self.options.items() for word in (f"--{name}", _word(value))
        ]


def _path(data: Mapping[str, Any], name: str) -> str:
    return text(data[name], name)


def _parent(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and value in PARENTS:
        return value
    raise Invalid(
        f"parent must be {', '.join(PARENTS)} or the number of a version, not {value!r:.40}."
    )


def _options(data: Mapping[str, Any]) -> Mapping[str, Option]:
    for name, value in data.items():
        if not _OPTION.fullmatch(name):
            raise Invalid(
                f"[options] has {name!r:.80}, which is no argument's name.", "a-z, 0-9, '-' and '_'"
            )
        # Parsers such as argparse take the beginning of an argument's name for the whole.
        if ours := next((one for one in sorted(OURS) if one.startswith(name)), ""):
            said = f"[options] {name} can be read as --{ours}, which is given by Slipway itself."
            raise Invalid(said, "leave it out, or name it otherwise")
        _check_option(name, value)
    return data


def _check_option(name: str, value: object) -> None:
    if isinstance(value, str) and value.startswith("-"):
        said = f"[options] {name} is {value!r:.80}, which would be read as an argument of its own."
        raise Invalid(said, "let it begin otherwise")
    plain = isinstance(value, str) and value.isprintable()
    finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if not (plain or finite):
        said = f"[options] {name} must be a text, a number, true or false, not {value!r:.80}."
        raise Invalid(said)


def _word(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version comes from. The ledger's word: tags of a registry can be copied."""

    training: str
    """Id of the training."""

    data: str
    """Digest of what it learnt from: the suite's where the data is one, else of all its files."""

    code: str
    """Digest of the Python files in the entrypoint's folder."""

    commit: str
    """Git commit of that folder, with `+changes` where its files differ; empty outside git."""

    parent: str
    """Such as `docs-router@1`, or `none`."""

    parent_digest: str
    """Digest of the parent's files; empty where there is none."""

    seed: int
    python: str
    """Version of the interpreter."""

    options: Mapping[str, Option]
    content: str = ""
    """Digest of the files that came out; empty until they are known."""

    @property
    def sentence(self) -> str:
        """Say it to people in half a line."""
        parent = "no parent" if self.parent == "none" else f"parent {self.parent}"
        code = self.commit[:12] + self.commit[40:] if self.commit else _short(self.code)
        return f"data {_short(self.data)}, code {code}, {parent}, seed {self.seed}"

    def tags(self) -> dict[str, str]:
        """Give its image for the registry."""
        return {
            "slipway.training": self.training,
            "slipway.data": self.data,
            "slipway.code": f"{self.commit} {self.code}".strip(),
            "slipway.parent": f"{self.parent} {self.parent_digest}".strip(),
            "slipway.seed": str(self.seed),
        }

    def as_json(self) -> dict[str, Any]:
        """Give plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_json` gave."""
        return cls(**data)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def read_progress(line: str) -> tuple[float, str] | None:
    """Read a line such as `progress 0.4 epoch 2`.

    Returns:
        How much is done, within 0..1, and what was said; None for any other line.
    """
    word, _, rest = line.strip().partition(" ")
    share, _, said = rest.strip().partition(" ")
    if word != "progress":
        return None
    try:
        done = float(share)
    except ValueError:
        return None
    return None if math.isnan(done) else (min(max(done, 0.0), 1.0), said.strip())
