"""The Prefect server and worker of the embedded default: settings, commands, start of a run.

Only commands and HTTP: whoever starts a flow run need not import Prefect for it.
"""

import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from infra.settings import Settings
from release.errors import Unavailable

POOL = "slipway"
BUSY_SECONDS = 20.0
"""How long a busy server is asked again."""

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
        asked = {
            "parameters": parameters,
            "state": {"type": "SCHEDULED"},
            # The key also makes it harmless to ask again after an answer that was lost.
            "idempotency_key": key or uuid4().hex,
        }
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._create_run(flow, asked)
            except httpx.HTTPError as error:
                if time.monotonic() > deadline or not _may_pass(error):
                    said = str(error).partition("\n")[0] or repr(error)
                    raise Unavailable(
                        f"Prefect cannot start the flow {flow!r} at {self._url}: {said}.",
                        "is it up? see slipway status",
                    ) from error
            time.sleep(0.5)

    def _create_run(self, flow: str, asked: dict[str, Any]) -> str:
        found = httpx.get(f"{self._url}/deployments/name/{flow}/{flow}", timeout=60)
        found.raise_for_status()
        deployment = found.json()["id"]
        url = f"{self._url}/deployments/{deployment}/create_flow_run"
        made = httpx.post(url, json=asked, timeout=60)
        made.raise_for_status()
        return str(made.json()["id"])


def _may_pass(error: httpx.HTTPError) -> bool:
    """Whether a server on SQLite is only busy: it then answers 503, or late."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    return isinstance(error, httpx.TimeoutException)
