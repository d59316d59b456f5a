"""What cannot be read is said for what it is, in every protocol."""

from collections.abc import Callable

import pytest

from serving.gateway import openai, predict, v2
from serving.gateway.dispatch import Refusal


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (predict.read, rb'{"text": "%s"}'),
        (v2.read, rb'{"inputs": [{"name": "text", "data": ["%s"]}]}'),
        (openai.read, rb'{"model": "tiny", "input": "%s"}'),
    ],
)
def test_half_a_character_is_not_called_an_end(
    read: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(Refusal, match="half a character"):
        read(body % rb"a\ud800")
    with pytest.raises(Refusal, match="Input data was truncated"):
        read(body[: body.index(b"%")])
