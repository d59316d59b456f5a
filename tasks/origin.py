"""What a training is made from: data, code, parent, interpreter. No Prefect."""

import subprocess
import sys
from pathlib import Path

from evaluation.suites import load_suite
from infra.settings import inherited_by_training
from infra.sources import code_digest, commit_of, data_digest
from release.errors import NotFound
from release.training import Lineage
from release.variants import Candidate
from serving.variants.intake import parent_digest
from tasks.trainings import Asked


def origin(asked: Asked, parent: Candidate | None, source: Path | None) -> Lineage:
    """Give what a training is made from, as it is now.

    Args:
        asked: the training.
        parent: the version that it goes on from.
        source: folder of the parent's files.

    Raises:
        NotFound: data or code cannot be read, or the interpreter does not run.
        Invalid: the data is a suite that breaks a rule, or holds no file.
    """
    data, code = made_of(asked)
    return Lineage(
        training=asked.id,
        data=data,
        code=code,
        commit=commit_of(asked.entrypoint),
        parent=parent.ref if parent else "none",
        parent_digest=parent_digest(source) if source else "",
        seed=asked.training.seed,
        python=_version(asked.python or Path(sys.executable)),
        options=asked.training.options,
    )


def made_of(asked: Asked) -> tuple[str, str]:
    """Give the digests of data and code, as they are now."""
    if (asked.data / "suite.json").is_file():
        load_suite.cache_clear()
        return load_suite(asked.data).digest, code_digest(asked.entrypoint)
    return data_digest(asked.data), code_digest(asked.entrypoint)


def _version(python: Path) -> str:
    asking = [str(python), "-I", "-c", "import platform; print(platform.python_version())"]
    try:
        done = subprocess.run(
            asking,
            env=inherited_by_training(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        hint = "see python in the training"
        raise NotFound(f"{python} does not run as Python: {error}.", hint) from error
    return done.stdout.strip()
