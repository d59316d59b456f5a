"""How MLflow is reached: its client, its errors, its silence.

Every use of MLflow goes through `translated`, its import too.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from infra.files import file_lock
from infra.settings import silence_telemetry
from release.errors import Invalid, NotFound, Unavailable


@cache
def connect(uri: str) -> Any:
    """Give this process's client of a registry, whose tables exist."""
    with translated(uri), _alone(uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_registered_models(max_results=1)
    return client


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Let one process at a time create the embedded registry's tables."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with file_lock(path.with_name(f"{path.name}.lock")):
        yield


def write(uri: str, work: Callable[[], object]) -> None:
    """Do a write that is harmless twice, and that another process may do at the same moment.

    The registry looks before it inserts: of two that do so at once one fails, and finds the other's
    row when it tries again.
    """
    try:
        with translated(uri):
            work()
    except Unavailable as error:
        if "unique constraint" not in str(error).lower():
            raise
        with translated(uri):
            work()


@contextmanager
def unless_there() -> Iterator[None]:
    """Create what another process may have created at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def unless_gone() -> Iterator[None]:
    """Remove what may not be there."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def public(uri: str) -> str:
    """Give a URI without the user and password that may stand in it."""
    scheme, found, rest = uri.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{found}{place.rpartition('@')[2]}{slash}{path}" if found else uri


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into our own; every use of it goes through here, its import too."""
    _quiet()
    from mlflow.exceptions import MlflowException

    shown = public(uri)
    try:
        yield
    except MlflowException as error:
        said = str(error).strip().splitlines()[0].replace(uri, shown)[:300]
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(f"The registry says: {said}") from error
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise Invalid(f"The registry says: {said}") from error
        raise Unavailable(f"The registry {shown} does not answer: {said}") from error
    except OSError as error:
        said = str(error).replace(uri, shown)
        raise Unavailable(f"The registry {shown} does not answer: {said}") from error


@cache
def _quiet() -> None:
    """Import MLflow so that it reports to nobody, draws nothing and gives up in time."""
    silence_telemetry()
    from mlflow import environment_variables

    options: Any = environment_variables
    options.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    if not options.MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
        # By default it asks a server that is gone for four minutes.
        options.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
