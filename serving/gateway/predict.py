"""The plain way to ask: a text in, what the model finds in it out. No sockets."""

from typing import Any

import msgspec

from serving.gateway.dispatch import Refusal
from serving.gateway.inputs import checked, decoded
from serving.gateway.outputs import entities, numbers, rows
from serving.replica.messages import Answer, Classes, Entities, Found


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One text, or several."""

    text: str | None = None
    texts: list[str] | None = None
    probabilities: bool = False
    """Whether to give the probability of every label."""


_requests = msgspec.json.Decoder(PredictRequest)


def read(body: bytes) -> PredictRequest:
    """Read a request.

    Raises:
        Refusal: with status 400, saying what is wrong.
    """
    hint = 'such as {"text": "…"} or {"texts": ["…", "…"]}'
    request = decoded(_requests, body, "The body is not a request", hint)
    if (request.text is None) == (request.texts is None):
        both = "neither text nor texts" if request.text is None else "both text and texts"
        raise Refusal(400, f"The body has {both}.", hint)
    return request


def texts_of(request: PredictRequest) -> list[str]:
    """Take the texts out of a request.

    Raises:
        Refusal: with status 400, naming value and limit.
    """
    texts = [request.text] if request.texts is None else request.texts
    if not texts:
        raise Refusal(400, "There are no texts.", "send at least one")
    return checked(texts)


def response(request: PredictRequest, texts: list[str], answer: Answer, labels: list[str]) -> Any:
    """Write the answer as plain data.

    Args:
        request: what was asked.
        texts: what it was asked about.
        answer: what was answered.
        labels: the model's labels, in the order of the scores; none where nobody asked for each.
    """
    found = found_rows(answer.found, texts, labels)
    return found if request.text is None else found[0]


def found_rows(found: Found, texts: list[str], labels: list[str]) -> list[Any]:
    """Write what was found in each item as plain data; words of entities only where texts are."""
    if isinstance(found, Classes):
        return [
            {"label": label, "score": max(scores)}
            | ({"probabilities": dict(zip(labels, scores, strict=True))} if labels else {})
            for label, scores in zip(found.labels, found.scores, strict=True)
        ]
    if isinstance(found, Entities):
        return [{"entities": row} for row in entities(found, texts)]
    return [{"embedding": numbers(row)} for row in rows(found)]
