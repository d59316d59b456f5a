"""The model behind BentoML: `/plain`, and `/many` with its adaptive batches."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import bentoml
from handler import Model, given

HOW = {} if os.environ.get("PEER_DEFAULTS") else {"logging": {"access": {"enabled": False}}}
BATCH = int(os.environ.get("PEER_BATCH", "0"))


@bentoml.service(name="peer", **HOW)
class Service:
    def __init__(self) -> None:
        self._model = Model(os.environ["PEER_ENGINE"], os.environ["PEER_FOLDER"])

    @bentoml.api(route="/1")
    def plain(self, text: str) -> dict:
        return self._model.predict([text])[0]

    @bentoml.api(route=f"/{BATCH}" if BATCH else "/many", batchable=True, max_batch_size=BATCH or 8)
    def many(self, texts: list[str]) -> list[dict]:
        return self._model.predict(texts)


if __name__ == "__main__":
    args = given()
    os.environ["PEER_ENGINE"], os.environ["PEER_FOLDER"] = args.engine, args.folder
    os.environ["PEER_DEFAULTS"] = "1" if args.defaults else ""
    os.environ["PEER_BATCH"] = str(max(args.batches) if max(args.batches) > 1 else 0)
    os.environ["BENTOML_HOME"] = args.scratch
    folder = str(Path(__file__).parent)
    listening = ["--host", "127.0.0.1", "--port", str(args.port)]
    command = [sys.executable, "-m", "bentoml", "serve", "serve:Service", "--working-dir", folder]
    os.execv(sys.executable, [*command, *listening])  # noqa: S606 (there is nothing to go back to)
