"""The Prefect server and worker of the embedded default: settings, commands, start of a run.

Only commands and HTTP: whoever starts a flow run need not import Prefect for it.
"""

import sys
from pathlib import Path
from typing import Any

import httpx

from infra.settings import Settings
from release.errors import Unavailable

POOL = "slipway"
PROJECT = Path(__file__).resolve().parents[1]
"""Where `prefect.yaml` lies."""


def environment(settings: Settings, url: str) -> dict[str, str]:
    """Prefect's own settings for server, worker and flow runs."""
    return {
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
        # With leases in memory, a restart of the server would leak every slot that was held.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
        # Results stay in the process: nothing is ever pickled or unpickled.
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_CLI_PROMPT": "false",
        "SLIPWAY_HOME": str(settings.root),
    }


def server_command(settings: Settings, port: int) -> list[str]:
    """Command of the server."""
    return [*_prefect(), "server", "start", "--host", settings.host, "--port", str(port)]


def worker_command() -> list[str]:
    """Command of the worker that runs flows as processes."""
    return [*_prefect(), "worker", "start", "--pool", POOL, "--type", "process", "--name", "local"]


def deploy_command() -> list[str]:
    """Command that applies `prefect.yaml`; to be run in `PROJECT`."""
    return [*_prefect(), "--no-prompt", "deploy", "--all"]


def _prefect() -> list[str]:
    return [sys.executable, "-m", "prefect"]


class Prefect:
    """The few calls to Prefect's API that a command needs."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return httpx.get(f"{self._url}/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def make_pool(self) -> None:
        """Create the work pool; harmless if it exists."""
        answer = httpx.post(
            f"{self._url}/work_pools/", json={"name": POOL, "type": "process"}, timeout=30
        )
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()

    def start(self, flow: str, parameters: dict[str, Any], key: str = "") -> str:
        """Start a run of a deployed flow.

        Args:
            flow: name of the flow, which is also its deployment's.
            parameters: of the flow.
            key: a second start with the same key gives the first one's run.

        Returns:
            Id of the flow run.

        Raises:
            Unavailable: Prefect does not answer, or the flow is not deployed.
        """
        try:
            found = httpx.get(f"{self._url}/deployments/name/{flow}/{flow}", timeout=10)
            found.raise_for_status()
            made = httpx.post(
                f"{self._url}/deployments/{found.json()['id']}/create_flow_run",
                json={
                    "parameters": parameters,
                    "state": {"type": "SCHEDULED"},
                    "idempotency_key": key or None,
                },
                timeout=10,
            )
            made.raise_for_status()
        except httpx.HTTPError as error:
            raise Unavailable(
                f"Prefect cannot start the flow {flow!r} at {self._url}: {error}.",
                "is it up? see slipway status",
            ) from error
        return str(made.json()["id"])
