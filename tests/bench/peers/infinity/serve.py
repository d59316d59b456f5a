"""The model behind Infinity, which has engines of its own: torch, at what it ships with."""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import uvicorn
from handler import given
from infinity_emb import EngineArgs
from infinity_emb.infinity_server import create_server

if __name__ == "__main__":
    args = given()
    # It wants a tokenizer as transformers keeps them, of which the candidate has one file.
    place = Path(args.scratch) / "model"
    place.mkdir()
    for file in Path(args.folder).iterdir():
        (place / file.name).symlink_to(file.resolve())
    kind = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]",
        "model_max_length": 512,
    }
    (place / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
    made = EngineArgs(model_name_or_path=str(place), served_model_name="m1", device="cpu")
    app = create_server(engine_args_list=[made])
    uvicorn.run(app, host="127.0.0.1", port=args.port)
