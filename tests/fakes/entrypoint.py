"""A user's training in a few lines: `--how` says what it does, such as `leave+fail`.

It stands on its own, as a user's does, and learns nothing: the model lies ready. Only the ways that
register need MLflow.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path


def leave(given: Namespace) -> None:
    shutil.copytree(given.ready, given.out, dirs_exist_ok=True)


def register(given: Namespace, model: str = "") -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    run = client.get_run(ENVIRONMENT["MLFLOW_RUN_ID"])
    client.log_artifacts(run.info.run_id, str(given.ready), "mine")
    model = model or given.register
    try:
        client.create_registered_model(model)
    except MlflowException:
        client.get_registered_model(model)
    client.create_model_version(model, f"{run.info.artifact_uri}/mine", run.info.run_id)


def other(given: Namespace) -> None:
    register(given, "other")


def fail(_: Namespace) -> None:
    sys.stderr.write("数据坏了\n")
    sys.exit(3)


def garbage(_: Namespace) -> None:
    sys.stdout.buffer.write(b"progress \xff\xfe\x00\x1b[31m nan\nprogress nan\n" * 500)
    sys.stdout.buffer.write(b"\x80" * 300_000)


def change(given: Namespace) -> None:
    (Path(given.data) / "more.txt").write_text("more")


def pickle(given: Namespace) -> None:
    (Path(given.out) / "optimizer.pkl").write_bytes(b"\x80\x04.")


def daemon(_: Namespace) -> None:
    """Leave something in a session of its own, which holds the output open."""
    subprocess.Popen(["sleep", "600"], start_new_session=True)


def sleep(_: Namespace) -> None:
    time.sleep(600)


def pause(_: Namespace) -> None:
    time.sleep(2)


ENVIRONMENT = dict(os.environ)  # noqa: TID251 - it knows no settings of ours
WAYS = {
    way.__name__: way
    for way in (leave, register, other, fail, garbage, change, pickle, daemon, sleep, pause)
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", default="leave")
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("--told", type=Path, help="where to say, line by line, how it was called")
    for name in ("--data", "--out", "--seed", "--register"):
        parser.add_argument(name, required=True)
    parser.add_argument("--parent", default="")
    given = parser.parse_args()
    if given.told:
        heard = {name: str(value) for name, value in vars(given).items()}
        heard |= {"executable": sys.executable, "pid": str(os.getpid()), "cwd": str(Path.cwd())}
        with given.told.open("a") as told:
            told.write(json.dumps(heard | {"environment": ENVIRONMENT}) + "\n")
    sys.stdout.write("progress 0.25 begun\n")
    for way in given.how.split("+"):
        WAYS[way](given)
    sys.stdout.write("progress 1 done\n")


if __name__ == "__main__":
    main()
