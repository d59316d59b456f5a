"""Every setting, read from the environment (`SLIPWAY_…`) in the process that uses it."""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from release.callers import Capture, Recording, WhenFull
from release.errors import Invalid

_HEADER = re.compile(r"([!-~]([ -~]*[!-~])?)?")
_HEADER_HINT = "it has printable characters of ASCII, and no space around them"


class Settings(BaseSettings):
    """Where state lies and how the parts find each other.

    The embedded default keeps everything under one folder, `SLIPWAY_HOME`.
    """

    model_config = SettingsConfigDict(env_prefix="SLIPWAY_", frozen=True, extra="ignore")

    home: Path = Path(".slipway")
    """Folder of all state."""

    ledger_url: str = ""
    """SQLAlchemy URL of the ledger; empty means SQLite under `home`."""

    calls_url: SecretStr = SecretStr("")
    """URL of a PostgreSQL that keeps calls searchable; empty means SQLite under `home`."""

    registry_uri: str = ""
    """MLflow tracking URI; empty means SQLite under `home`."""

    token: SecretStr = SecretStr("")
    """Token of the identity that acts; empty means the one saved under `home`."""

    host: str = "127.0.0.1"
    """Address that gateways and servers listen on."""

    name: str = Field(default="", pattern=r"^([a-z0-9_-]{1,63})?$")
    """Name of this host among those of its ledger; empty means the machine's."""

    port: int = Field(default=0, ge=0, le=65535)
    """Port of the gateway; 0 finds a free one once and keeps it."""

    grpc_port: int = Field(default=0, ge=0, le=65535)
    """Port of the gateways' gRPC; 0 finds a free one once and keeps it."""

    gateways: int = Field(default=1, ge=1, le=16)
    """Gateway processes of a host."""

    threads: int = Field(default=1, ge=1, le=256)
    """Compute threads of a replica."""

    device: str = Field(default="", max_length=40)
    """Where replicas compute, such as `cpu`, `cuda` or `GPU`; empty leaves it to each variant."""

    open: bool = False
    """Whether gateways ask nobody who they are; on loopback alone."""

    pepper: Path | None = None
    """File of the pepper that keys are kept under; None means one under `home`."""

    issuers: Path | None = None
    """TOML of whose tokens are believed; None means `issuers.toml` under `home`."""

    anchors: str = ""
    """File that checkpoints of the call record are appended to, or http(s) URL that they are sent
    to; empty means neither. Best is another host's."""

    anchors_authorization: SecretStr = SecretStr("")
    """Value of the header `authorization` where anchors are sent to a URL."""

    capture: Capture = Capture.NONE
    """What of a call's input and output is kept: `none`, `hash`, `redacted` or `full`."""

    capture_sample: float = Field(default=1.0, ge=0, le=1)
    """Part of the calls of which it is kept; every call has its line all the same."""

    record_strict: bool = False
    """Whether an answer waits until its line is on the disk."""

    record_when_full: WhenFull = WhenFull.REFUSE
    """What becomes of a call that cannot be recorded: `refuse` or `block`."""

    record_days: int = Field(default=180, ge=1, le=36_500)
    """Days after which calls leave the call store, and segments without any younger one go."""

    record_mb: int = Field(default=0, ge=0, le=10**9)
    """Megabytes that a namespace's calls take on this host at most; 0 means without a limit."""

    export_authorization: SecretStr = SecretStr("")
    """Value of the header `authorization` where `slipway calls export --to` sends calls."""

    failpoint: str = ""
    """Name of the point at which the process kills itself; for fault tests only."""

    def __init__(self, **values: Any) -> None:
        """Read the environment; `values` stand above it.

        Raises:
            Invalid: a setting breaks its rule.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "_".join(map(str, first["loc"])).upper()
            raise Invalid(f"SLIPWAY_{name} cannot be {first['input']!r}.", first["msg"]) from error
        for name in ("anchors_authorization", "export_authorization"):
            # Not by a rule of the field's: what breaks one is quoted, and this is a secret.
            if not _HEADER.fullmatch(getattr(self, name).get_secret_value()):
                raise Invalid(f"SLIPWAY_{name.upper()} is no value of a header.", _HEADER_HINT)

    @cached_property
    def root(self) -> Path:
        """`home` as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def registry(self) -> str:
        """Tracking URI of the registry."""
        return self.registry_uri or f"sqlite:///{self.root / 'mlflow' / 'mlflow.db'}"

    @property
    def artifacts(self) -> Path:
        """Where the embedded registry keeps artifacts."""
        return self.root / "mlflow" / "artifacts"

    @property
    def store(self) -> Path:
        """Content-addressed variants."""
        return self.root / "store"

    @property
    def recording(self) -> Recording:
        """What is recorded of calls."""
        return Recording(
            capture=self.capture,
            sample=self.capture_sample,
            strict=self.record_strict,
            when_full=self.record_when_full,
            days=self.record_days,
            most_mb=self.record_mb,
        )

    @property
    def anchors_url(self) -> str:
        """Where anchors are sent; empty where they are not."""
        return self.anchors if self.anchors.startswith(("http://", "https://")) else ""

    @property
    def anchors_file(self) -> Path | None:
        """File that anchors are appended to."""
        return None if self.anchors_url or not self.anchors else Path(self.anchors)

    def page(self, release_id: str) -> Path:
        """Where the report of a release lies."""
        return self.root / "reports" / f"{release_id}.html"

    @property
    def run(self) -> Path:
        """Process records, sockets, route snapshots."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Output of the processes that `up` starts."""
        return self.root / "logs"

    @property
    def journal(self) -> Path:
        """What gateways recorded."""
        return self.root / "journal"

    @property
    def outbox(self) -> Path:
        """Anchors that are on their way to a URL."""
        return self.root / "anchors"

    @property
    def pepper_file(self) -> Path:
        """The pepper that keys are kept under."""
        return self.pepper or self.root / "secrets" / "pepper"

    @property
    def house_key(self) -> Path:
        """Key by which this home's own clients call, such as `slipway traffic`."""
        return self.root / "secrets" / "key"

    @property
    def issuers_file(self) -> Path:
        """Whose tokens are believed, besides keys."""
        return self.issuers or self.root / "issuers.toml"

    @property
    def calls_secrets(self) -> Path:
        """Keys that seal payloads of the call record and sign its checkpoints."""
        return self.root / "secrets" / "calls"

    @property
    def call_store(self) -> Path:
        """Calls as they are searched."""
        return self.root / "calls" / "calls.db"

    @property
    def call_sizes(self) -> Path:
        """How much the calls of each namespace take, as it was weighed last."""
        return self.root / "calls" / "sizes.json"


def inherited(**more: str) -> dict[str, str]:
    """Environment for a child process: ours, and `more` on top."""
    # Engines that wait must sleep, not spin: they share their cores with gateways and trainings.
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **more}


def inherited_by_serving() -> dict[str, str]:
    """Environment for gateways and replicas, which need no secret of ours and get none."""
    secrets = {
        *("SLIPWAY_TOKEN", "SLIPWAY_LEDGER_URL", "SLIPWAY_REGISTRY_URI"),
        *("SLIPWAY_CALLS_URL", "SLIPWAY_EXPORT_AUTHORIZATION"),
        *("SLIPWAY_ANCHORS", "SLIPWAY_ANCHORS_AUTHORIZATION"),
    }
    # A replica has one thread that tokenises; more would take cores from those that compute.
    alone = {"TOKENIZERS_PARALLELISM": "false"}
    return alone | {name: value for name, value in inherited().items() if name not in secrets}


def inherited_by_training(**more: str) -> dict[str, str]:
    """Environment for a user's own program: nothing of Slipway's, Prefect's, the ledger's database.

    Secrets lie among these. Nothing of our Python's either: it would mix our packages into an
    environment of its own.
    """
    ours = ("SLIPWAY_", "PREFECT_", "PG", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in inherited().items() if not name.startswith(ours)}
    return kept | more


def inherited_by_git() -> dict[str, str]:
    """Environment for asking git of a folder, whatever repository our caller is at work in.

    Git runs what that folder's own settings name, such as filters: users' programs, like trainings.
    """
    kept = inherited_by_training()
    plain = {name: value for name, value in kept.items() if not name.startswith("GIT_")}
    return plain | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def silence_telemetry() -> None:
    """Forbid the libraries of this process to report to anybody; to be called before importing."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
