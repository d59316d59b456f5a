"""Whether an address is this machine's own alone: only there may a gateway be open to all."""

import ipaddress

from infra.settings import Settings
from release.errors import Refused


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allow_open(settings: Settings) -> None:
    """Refuse the open mode where others could connect.

    Raises:
        Refused: `SLIPWAY_OPEN` is set, and `SLIPWAY_HOST` is not loopback.
    """
    if settings.open and not is_loopback(settings.host):
        said = f"Gateways at {settings.host} would answer whoever asks; that is for loopback alone."
        raise Refused(said, "leave out --open, or SLIPWAY_OPEN, and call with keys")
