"""The port that every engine fills, and what holds for the answers of all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from release.errors import SlipwayError, Unavailable, Unsafe

Outputs = NDArray[np.float32]
"""What an engine gives: logits of classes [batch, labels], of tokens [batch, length, labels], or
vectors [batch, width]. Of a packed row the first dimension of the second kind is 1, and that of the
others the most texts that the row may hold, its own texts first."""

Ids = NDArray[np.int64]

MOST_SAID = 400
"""Characters of a library's own words that are repeated; some print a whole graph."""


class Engine(Protocol):
    """A loaded model."""

    def predict(self, inputs: dict[str, Ids]) -> Outputs:
        """Map token ids to what the task needs.

        Args:
            inputs: as `Tokens.lay` gives them. Padded: `input_ids`, `attention_mask` and, where
                known, `token_type_ids`, each of shape [batch, length]. Packed: `input_ids`,
                `position_ids` and `segment_ids`, each of shape [1, length], and `starts`.
        """
        ...

    def twin(self) -> "Engine":
        """Give one on the same weights that another thread may ask at the same time."""
        ...

    def close(self) -> None:
        """Let go of its memory."""
        ...


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Give whatever a library raises in the body as an error of ours.

    Args:
        what: is loaded, for the sentence.

    Raises:
        Unavailable: a library is not installed.
        Unsafe: what was to be loaded is not what it should be.
    """
    try:
        yield
    except (SlipwayError, MemoryError):
        raise
    except ImportError as error:
        raise Unavailable(f"{what} needs {error.name}, which is not installed.") from error
    except Exception as error:  # each library raises what it likes, plain exceptions among it
        said = " ".join(str(error).split()) or type(error).__name__
        raise Unsafe(f"{what} cannot be loaded: {said[:MOST_SAID]}.") from error


def finite(found: Outputs) -> Outputs:
    """Give numbers back, or refuse them.

    Raises:
        ArithmeticError: one of them is not a number, or infinite.
    """
    if not np.isfinite(found).all():
        raise ArithmeticError("the model gave numbers that are not finite")
    return found


def softmax(logits: Outputs) -> Outputs:
    """Turn logits of shape [.., labels] into probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Outputs = powers / powers.sum(axis=-1, keepdims=True)
    return shares
