"""What asks a model, in any protocol over HTTP: one path for all, from the body to the headers."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from serving.gateway import openai, outputs, predict, tensors, v2
from serving.gateway.bodies import Gone, Message, Receive, read_body
from serving.gateway.dispatch import Call, Dispatcher, Refusal, Reply
from serving.gateway.exchange import (
    Ask,
    Response,
    endpoint_of,
    json_response,
    status_of,
    told,
    version_of,
)
from serving.gateway.inputs import Items
from serving.gateway.pool import Pool
from serving.gateway.refusing import RECORDED
from serving.gateway.table import Endpoint, Table


class Inference:
    """Answers requests for predictions.

    Args:
        table: what is served.
        pool: knows the labels of variants.
        dispatcher: answers calls.
    """

    def __init__(self, table: Table, pool: Pool, dispatcher: Dispatcher) -> None:
        self._table = table
        self._pool = pool
        self._dispatcher = dispatcher

    async def infer(self, ask: Ask) -> Response:
        """Answer by the Open Inference Protocol."""
        endpoint = endpoint_of(self._table, ask.named["model"], ask.who)
        version = version_of(ask.named.get("version"))
        body = await read_body(ask.receive, ask.headers)
        plain, raw = tensors.split(body, ask.headers.json_length())
        request = v2.read(plain)
        ask.headers.name(request.id)
        wish = v2.wished(request, self._task(endpoint))
        items = v2.items_of(request, raw)
        reply = await self._reply(ask, endpoint, items, "v2", version)
        with RECORDED:
            given = outputs.outputs(wish.names, reply.answer, items.texts)
            found = v2.response(request, wish, reply.arm, given)
        headers = (*found.headers, *told(reply))
        return Response(body=found.body, kind=found.kind, headers=headers)

    async def predict(self, ask: Ask) -> Response:
        """Answer the plain way."""
        endpoint = endpoint_of(self._table, ask.named["endpoint"], ask.who)
        request = predict.read(await read_body(ask.receive, ask.headers))
        texts = predict.texts_of(request)
        if request.probabilities:
            outputs.allow([outputs.PROBABILITIES], self._task(endpoint))
        reply = await self._reply(ask, endpoint, Items(texts=texts), "predict")
        with RECORDED:
            labels = self._labels(reply) if request.probabilities else []
            found = predict.response(request, texts, reply.answer, labels)
        return json_response(found, headers=told(reply))

    async def embed(self, ask: Ask) -> Response:
        """Answer with embeddings, in OpenAI's shape."""
        request = openai.read(await read_body(ask.receive, ask.headers))
        try:
            # Who is not allowed hears that, whether there is such a model or not.
            ask.who.enter(request.model)
            endpoint = openai.endpoint_of(self._table, request.model)
            items = openai.items_of(request)
            if status := status_of(self._pool, endpoint):
                openai.allow(request, status.task, status.width)
        except Refusal as error:
            # The address does not say whom it is about, and its line must.
            error.about = request.model
            raise
        reply = await self._reply(ask, endpoint, items, "openai")
        with RECORDED:
            found = openai.response(request, reply.answer)
        return json_response(found, headers=told(reply))

    def _task(self, endpoint: Endpoint) -> str:
        """Name the task of an endpoint's model; empty where no replica can be asked just now."""
        status = status_of(self._pool, endpoint)
        return status.task if status else ""

    def _labels(self, reply: Reply) -> list[str]:
        outputs.allow([outputs.PROBABILITIES], outputs.task_of(reply.answer.found))
        if labels := self._pool.labels(reply.arm.digest):
            return labels
        raise Refusal(503, f"The labels of {reply.arm.ref} are not known any more.", retry=1)

    async def _reply(
        self,
        ask: Ask,
        endpoint: Endpoint,
        items: Items,
        protocol: str,
        version: int | None = None,
    ) -> Reply:
        key, by = ask.who.key(ask.headers, ask.draw)
        call = Call(
            id=ask.headers.request_id(),
            key=key,
            by=by,
            texts=items.texts,
            ids=items.ids,
            deadline_ms=ask.headers.deadline_ms(),
            version=version,
            caller=ask.who.caller,
            protocol=protocol,
        )
        reply = await _unless_gone(self._dispatcher.answer(endpoint, call), ask.receive)
        ask.who.spend(reply.answer.tokens)
        return reply


async def _unless_gone(work: Coroutine[Any, Any, Reply], receive: Receive) -> Reply:
    """Do the work in this task, but stop it when the client hangs up."""
    here = asyncio.current_task()
    gone = over = False

    def left(_leaving: asyncio.Task[Message]) -> None:
        nonlocal gone
        # It may have been on its way already when the work was done.
        gone = not over and here is not None and here.cancel()

    leaving = asyncio.create_task(_leave(receive))
    leaving.add_done_callback(left)
    try:
        return await work
    except asyncio.CancelledError:
        if here is not None and gone:
            here.uncancel()
            raise Gone from None
        raise
    finally:
        over = True
        leaving.cancel()


async def _leave(receive: Receive) -> Message:
    return await receive()
