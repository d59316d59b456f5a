"""Registered models in MLflow. The only module that imports it; models are files here, no more.

No `load_model` is ever called: what a registry holds is downloaded, checked and read as data.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.files import file_lock, sync_folder
from infra.settings import silence_telemetry
from release.errors import Invalid, NotFound, Unavailable
from release.variants import Candidate

EXPERIMENT = "slipway"


class Registry:
    """A registry behind a tracking URI: SQLite for the embedded default, else a server.

    Args:
        uri: MLflow tracking URI.
        artifacts: folder for artifacts where the registry is embedded.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        self._uri = uri
        self._artifacts = artifacts

    @property
    def _client(self) -> Any:
        return _connect(self._uri)

    def candidate(self, model: str, version: int | None = None) -> Candidate:
        """Find a registered version, the newest if none is named.

        Raises:
            Invalid: the name cannot be a model's.
            NotFound: there is no such model or version; says which there are.
            Unavailable: the registry does not answer.
        """
        wanted = Candidate(model=model, version=version or 1)
        with _translated(self._uri):
            versions = self._client.search_model_versions(f"name = '{wanted.model}'")
            known = sorted(int(one.version) for one in versions)
            if not known:
                names = sorted(one.name for one in self._client.search_registered_models())
                hint = f"registered are {', '.join(names)}" if names else "nothing is registered"
                raise NotFound(f"No model is registered as {model!r}.", hint)
        if version is not None and version not in known:
            listed = ", ".join(map(str, known))
            raise NotFound(f"{model} has no version {version}.", f"it has {listed}")
        return Candidate(model=model, version=version or known[-1])

    def fetch(self, candidate: Candidate, into: Path) -> Path:
        """Bring a version's files to a folder, whole or not at all.

        Raises:
            NotFound: the version, or its artifacts, are gone.
            Unavailable: the registry does not answer.
        """
        if into.is_dir():
            return into
        aside = into.with_name(f".{into.name}.{uuid4().hex[:8]}")
        aside.mkdir(parents=True)
        try:
            with _translated(self._uri):
                files = self._download(candidate, aside)
            if not any(path.is_file() for path in files.rglob("*")):
                raise NotFound(f"{candidate.ref} has no folder of files in the registry.")
            files.rename(into)
            sync_folder(into.parent)
        except OSError as error:
            # Another process may have brought the same files first; theirs are as good.
            if not into.is_dir():
                raise Unavailable(f"{candidate.ref} cannot be kept in {into}: {error}.") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return into

    def _download(self, candidate: Candidate, into: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        version = str(candidate.version)
        source = self._client.get_model_version_download_uri(candidate.model, version)
        return Path(
            download_artifacts(artifact_uri=source, dst_path=str(into), tracking_uri=self._uri)
        )

    def facts(self, candidate: Candidate) -> Mapping[str, str]:
        """Give a version's tags, its `run` and its `source`.

        A copied version copies its tags: they prove nothing.

        Raises:
            NotFound: there is no such version.
        """
        with _translated(self._uri):
            found = self._client.get_model_version(candidate.model, str(candidate.version))
        return {**found.tags, "run": found.run_id or "", "source": found.source or ""}

    def alias(self, model: str, alias: str) -> int | None:
        """Give the version that an alias names, None if it names none."""
        with _translated(self._uri):
            named = self._client.get_registered_model(model).aliases.get(alias)
        return int(named) if named is not None else None

    def point(self, model: str, alias: str, version: int | None) -> None:
        """Let an alias name a version, or nothing. Harmless if it does already."""
        with _translated(self._uri):
            if version is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(version))

    def tag(self, candidate: Candidate, name: str, value: str) -> None:
        """Write a tag on a version."""
        with _translated(self._uri):
            self._client.set_model_version_tag(candidate.model, str(candidate.version), name, value)

    def register(
        self, model: str, folder: Path, tags: Mapping[str, str] | None = None
    ) -> Candidate:
        """Register a folder of files as a model's next version.

        Raises:
            Invalid: the name cannot be a model's.
            Unavailable: the registry does not answer.
        """
        Candidate(model=model, version=1)
        with _translated(self._uri):
            run = self._client.create_run(self._experiment(), run_name=model)
            self._client.log_artifacts(run.info.run_id, str(folder), "model")
            self._client.set_terminated(run.info.run_id)
            with _unless_there():
                self._client.create_registered_model(model)
            made = self._client.create_model_version(
                model, f"{run.info.artifact_uri}/model", run.info.run_id, tags=dict(tags or {})
            )
        return Candidate(model=model, version=int(made.version))

    def _experiment(self) -> str:
        place = self._artifacts.as_uri() if self._uri.startswith("sqlite:") else None
        if self._client.get_experiment_by_name(EXPERIMENT) is None:
            with _unless_there():
                self._client.create_experiment(EXPERIMENT, artifact_location=place)
        return str(self._client.get_experiment_by_name(EXPERIMENT).experiment_id)


@cache
def _connect(uri: str) -> Any:
    """Give this process's client of a registry, whose tables exist."""
    with _translated(uri), _alone(uri):
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


@contextmanager
def _unless_there() -> Iterator[None]:
    """Create what another process may have created at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into our own; every use of it goes through here, its import too."""
    _quiet()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        said = str(error).strip().splitlines()[0][:300]
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(f"The registry says: {said}") from error
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise Invalid(f"The registry says: {said}") from error
        raise Unavailable(f"The registry {uri} does not answer: {said}") from error
    except OSError as error:
        raise Unavailable(f"The registry {uri} does not answer: {error}") from error


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
