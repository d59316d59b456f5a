"""The model behind LitServe: a path for each size of batch, `/1` without batching."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import litserve
from handler import Model, given, stay_on


class Api(litserve.LitAPI):
    def __init__(self, engine: str, folder: str, core: str, batch: int, wait: float) -> None:
        how = {"max_batch_size": batch, "batch_timeout": wait} if batch > 1 else {}
        super().__init__(api_path=f"/{batch}", **how)
        self._made = engine, folder
        self._core, self._many = core, batch > 1

    def setup(self, device: str) -> None:
        stay_on(self._core)
        self._model = Model(*self._made)

    def decode_request(self, request: dict) -> str:
        return request["text"]

    def predict(self, asked: str | list[str]) -> list[dict]:
        return self._model.predict(asked) if self._many else self._model.predict([asked])[0]

    def encode_response(self, output: dict) -> dict:
        return output


if __name__ == "__main__":
    args = given()
    apis = [
        Api(args.engine, args.folder, args.core, batch, args.wait_ms / 1e3)
        for batch in args.batches
    ]
    how = {} if args.defaults else {"fast_queue": True}
    server = litserve.LitServer(apis, accelerator="cpu", **how)
    quiet = {} if args.defaults else {"access_log": False, "log_level": "warning"}
    server.run(host="127.0.0.1", port=args.port, generate_client_file=False, **quiet)
