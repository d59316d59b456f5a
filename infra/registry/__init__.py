"""Registered models in MLflow. The only package that imports it; models are files here, no more.

No `load_model` is ever called: what a registry holds is downloaded, checked and read as data.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from infra.files import sync_folder
from infra.registry.connection import connect, public, translated, unless_gone, unless_there, write
from release.errors import Invalid, NotFound, Unavailable
from release.variants import Candidate

EXPERIMENT = "slipway"
TRAINING = "slipway.training"
"""Tag by which the runs of a training are found again."""


RELEASE_TAG = "slipway.release"
"""On a run and on a version: the release that it shows."""

TAG_CHARACTERS = 5_000
"""Longest value of a run's tag that every store takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a run of the registry shows of a release."""

    at: float
    """Moment of the metrics, in seconds since the epoch."""

    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    pages: Mapping[str, str]
    """File name to text."""

    closed: bool
    """Whether nothing more will follow."""


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
        return connect(self._uri)

    def candidate(self, model: str, version: int | None = None) -> Candidate:
        """Find a registered version, the newest if none is named.

        Raises:
            Invalid: the name cannot be a model's.
            NotFound: there is no such model or version; says which there are.
            Unavailable: the registry does not answer.
        """
        wanted = Candidate(model=model, version=version or 1)
        with translated(self._uri):
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
            with translated(self._uri):
                files = self._download(candidate, aside)
            if not any(path.is_file() for path in files.rglob("*")):
                raise NotFound(
                    f"{candidate.ref} has no folder of files in the registry.", "register one"
                )
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
        try:
            fetched = download_artifacts(
                artifact_uri=source, dst_path=str(into), tracking_uri=self._uri
            )
        except ValueError as error:
            said = f"{candidate.ref} cannot be fetched from {public(str(source))}: {error}."
            raise Invalid(said, "register it again") from error
        return Path(fetched)

    def facts(self, candidate: Candidate) -> Mapping[str, str]:
        """Give a version's tags, its `run` and its `source`.

        A copied version copies its tags: they prove nothing.

        Raises:
            NotFound: there is no such version.
        """
        with translated(self._uri):
            found = self._client.get_model_version(candidate.model, str(candidate.version))
        return {**found.tags, "run": found.run_id or "", "source": found.source or ""}

    def alias(self, model: str, alias: str) -> int | None:
        """Give the version that an alias names, None if it names none."""
        with translated(self._uri):
            named = self._client.get_registered_model(model).aliases.get(alias)
        return int(named) if named is not None else None

    def point(self, model: str, alias: str, version: int | None) -> None:
        """Let an alias name a version, or nothing. Harmless if it does already."""
        with translated(self._uri):
            if version is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(version))

    def tag(self, candidate: Candidate, name: str, value: str) -> None:
        """Write a tag on a version."""
        of = (candidate.model, str(candidate.version))
        write(self._uri, lambda: self._client.set_model_version_tag(*of, name, value))

    def untag(self, candidate: Candidate, name: str) -> None:
        """Take a tag off a version. Harmless if it has none of this name."""
        with translated(self._uri), unless_gone():
            self._client.delete_model_version_tag(candidate.model, str(candidate.version), name)

    def tags(self, model: str) -> Mapping[int, Mapping[str, str]]:
        """Give the tags of every version of a model; empty where it has none.

        A copied version copies its tags: they prove nothing.
        """
        with translated(self._uri):
            found = self._client.search_model_versions(f"name = '{model}'")
        return {int(one.version): dict(one.tags) for one in found}

    def run_of(self, release_id: str) -> str:
        """Find the run that shows a release, or open it; give its id."""
        with translated(self._uri):
            experiment = self._experiment()
            wanted = f"tags.`{RELEASE_TAG}` = '{release_id}'"
            known = self._client.search_runs([experiment], wanted, max_results=1)
            if known:
                return str(known[0].info.run_id)
            tags = {RELEASE_TAG: release_id}
            made = self._client.create_run(experiment, run_name=release_id, tags=tags)
        return str(made.info.run_id)

    def address(self, run: str) -> str:
        """Say where a run can be looked at: a URL of the server, else the database and the id."""
        shown = public(self._uri)
        if not shown.startswith("http"):
            return f"{shown} run {run}"
        with translated(self._uri):
            experiment = self._client.get_run(run).info.experiment_id
        return f"{shown.rstrip('/')}/#/experiments/{experiment}/runs/{run}"

    def shows(self, run: str) -> bool:
        """Whether a run is there, and was not deleted."""
        try:
            with translated(self._uri):
                return bool(self._client.get_run(run).info.lifecycle_stage == "active")
        except NotFound:
            return False

    def record(self, run: str, picture: Picture) -> None:
        """Make a run show a picture of a release. Harmless if it does already."""
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(name, value, int(1000 * picture.at), 0)
            for name, value in picture.metrics.items()
        ]
        tags = [RunTag(name, value[:TAG_CHARACTERS]) for name, value in picture.tags.items()]
        write(self._uri, lambda: self._client.log_batch(run, metrics=metrics, tags=tags))
        with translated(self._uri):
            for name, text in picture.pages.items():
                self._client.log_text(run, text, name)
            if picture.closed:
                self._client.set_terminated(run)

    def register(
        self, model: str, folder: Path, tags: Mapping[str, str] | None = None, *, run: str = ""
    ) -> Candidate:
        """Register a folder of files as a model's next version.

        Args:
            model: name.
            folder: its files.
            tags: of the version.
            run: id of the run that made it; a run of its own if empty.

        Raises:
            Invalid: the name cannot be a model's.
            Unavailable: the registry does not answer.
        """
        Candidate(model=model, version=1)
        with translated(self._uri):
            client = self._client
            of = client.get_run(run) if run else client.create_run(self._experiment())
            # What a training logged by itself must not be mixed with what is registered.
            place = "registered" if run else "model"
            client.log_artifacts(of.info.run_id, str(folder), place)
            if not run:
                client.set_terminated(of.info.run_id)
            with unless_there():
                client.create_registered_model(model)
            source = f"{of.info.artifact_uri}/{place}"
            made = client.create_model_version(model, source, of.info.run_id, tags=dict(tags or {}))
        return Candidate(model=model, version=int(made.version))

    def open_run(self, training: str, model: str) -> str:
        """Open a run for one attempt at a training, which its entrypoint may log into.

        Returns:
            Id of the run.
        """
        with translated(self._uri):
            tags = {TRAINING: training}
            run = self._client.create_run(self._experiment(), run_name=model, tags=tags)
        return str(run.info.run_id)

    def close_runs(self, training: str, status: str) -> None:
        """End every run of a training that is still open.

        Args:
            training: its id.
            status: `FINISHED`, `FAILED` or `KILLED`.
        """
        with translated(self._uri):
            for run in self._runs(training):
                if run.info.status == "RUNNING":
                    self._client.set_terminated(run.info.run_id, status)

    def versions_of(self, training: str) -> list[tuple[str, int]]:
        """Give every version that was registered under a training's runs: model and number."""
        with translated(self._uri):
            runs = ", ".join(f"'{run.info.run_id}'" for run in self._runs(training))
            found = self._client.search_model_versions(f"run_id IN ({runs})") if runs else []
            return sorted((one.name, int(one.version)) for one in found)

    def _runs(self, training: str) -> list[Any]:
        wanted = f"tags.`{TRAINING}` = '{training}'"
        return list(self._client.search_runs([self._experiment()], wanted))

    def _experiment(self) -> str:
        place = self._artifacts.as_uri() if self._uri.startswith("sqlite:") else None
        if self._client.get_experiment_by_name(EXPERIMENT) is None:
            with unless_there():
                self._client.create_experiment(EXPERIMENT, artifact_location=place)
        return str(self._client.get_experiment_by_name(EXPERIMENT).experiment_id)
