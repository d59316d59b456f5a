"""The model behind MLServer: a model for each size of batch, `m1` without batching."""

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from handler import Model, given, stay_on
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Runtime(MLModel):
    async def load(self) -> bool:
        extra = self.settings.parameters.model_extra
        if extra["core"]:
            stay_on(extra["core"])
        self._model = Model(extra["engine"], extra["folder"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = self._model.predict(StringCodec.decode_input(payload.inputs[0]))
        output = StringCodec.encode_output("found", [json.dumps(one) for one in found])
        return InferenceResponse(model_name=self.name, outputs=[output])


async def serve() -> None:
    import serve as module  # its workers look for the class under this name

    args = given()
    # A worker of its own is what it ships with; without one it computes between its requests.
    workers = 1 if args.defaults or args.mode != "inline" else 0
    settings = Settings(
        debug=args.defaults,
        host="127.0.0.1",
        http_port=args.port,
        grpc_port=args.spare_ports[0],
        metrics_port=args.spare_ports[1],
        parallel_workers=workers,
        load_models_at_startup=False,
        metrics_dir=args.scratch,
        environments_dir=args.scratch,
        gzip_enabled=args.defaults,
    )
    server = MLServer(settings)
    models = [
        ModelSettings(
            name=f"m{batch}",
            implementation=module.Runtime,
            parameters={
                "extra": {},
                "engine": args.engine,
                "folder": args.folder,
                "core": args.core if workers else "",
            },
            **(
                {"max_batch_size": batch, "max_batch_time": args.wait_ms / 1e3} if batch > 1 else {}
            ),
        )
        for batch in args.batches
    ]
    await server.start(models)


if __name__ == "__main__":
    os.chdir(given().scratch)
    asyncio.run(serve())
