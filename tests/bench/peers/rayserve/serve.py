"""The model behind Ray Serve: a path for each size of batch, `/1` without batching."""

import os
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from handler import Model, given, stay_on

args = given()
if not args.defaults:
    os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"

import ray
from ray import serve
from starlette.requests import Request


class Plain:
    def __init__(self, engine: str, folder: str, core: str) -> None:
        stay_on(core)
        self._model = Model(engine, folder)

    async def __call__(self, request: Request) -> dict:
        asked = await request.json()
        return self._model.predict([asked["text"]])[0]


def batching(batch: int, wait: float) -> type:
    class Batched(Plain):
        async def __call__(self, request: Request) -> dict:
            asked = await request.json()
            return await self._many(asked["text"])

        @serve.batch(max_batch_size=batch, batch_wait_timeout_s=wait)
        async def _many(self, texts: list[str]) -> list[dict]:
            return self._model.predict(texts)

    return Batched


if __name__ == "__main__":
    here = str(Path(__file__).parents[1])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=args.scratch,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": args.port})
    for batch in args.batches:
        cls = batching(batch, args.wait_ms / 1e3) if batch > 1 else Plain
        how = {} if args.defaults else {"max_ongoing_requests": 1_000}
        made = serve.deployment(cls, name=f"m{batch}", ray_actor_options={"num_cpus": 0.1}, **how)
        app = made.bind(args.engine, args.folder, args.core)
        serve.run(app, name=f"m{batch}", route_prefix=f"/{batch}")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
