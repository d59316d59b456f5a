"""Asks the gateways of this host, each on its local socket, how they are."""

from pathlib import Path

from infra.sockets import hear
from serving.gateway.siblings import PREFIX


def status_socket(sockets: Path, name: str) -> Path:
    """Where a gateway tells how it is.

    Args:
        sockets: folder of its agent's sockets.
        name: such as g1.
    """
    return sockets / f"{PREFIX}{name}.sock"


def refusing(sockets: Path) -> dict[str, str]:
    """Say which gateways refuse every call, and why none can be recorded there.

    Args:
        sockets: folder of their agent's sockets; there may be none.
    """
    found = {}
    for place in sorted(sockets.glob(f"{PREFIX}*.sock")):
        why = (hear(place) or {}).get("calls", {}).get("trouble", "")
        if why:
            found[place.stem.removeprefix(PREFIX)] = str(why)
    return found
