"""The port that every engine fills, and what holds for the answers of all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from release.errors import SlipwayError, Unavailable, Unsafe

Logits = NDArray[np.float32]
Ids = NDArray[np.int64]

MOST_SAID = 400
"""Characters of a library's own words that are repeated; some print a whole graph."""


class Engine(Protocol):
    """A loaded model."""

    def predict(self, inputs: dict[str, Ids]) -> Logits:
        """Map token ids to logits.

        Args:
            inputs: `input_ids`, `attention_mask` and, where known, `token_type_ids`, each of shape
                [batch, length].

        Returns:
            Logits of shape [batch, labels].
        """
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


def finite(logits: Logits) -> Logits:
    """Give logits back, or refuse them.

    Raises:
        ArithmeticError: one of them is not a number, or infinite.
    """
    if not np.isfinite(logits).all():
        raise ArithmeticError("the model gave numbers that are not finite")
    return logits


def softmax(logits: Logits) -> Logits:
    """Turn logits of shape [batch, labels] into probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Logits = powers / powers.sum(axis=1, keepdims=True)
    return shares
