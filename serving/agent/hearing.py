"""Asks the gateways of this host, each on its local socket, how they are."""

import json
import socket
from pathlib import Path
from typing import Any

from serving.gateway.siblings import PREFIX

ASK_SECONDS = 0.3


def status_socket(sockets: Path, name: str) -> Path:
    """Where a gateway tells how it is.

    Args:
        sockets: folder of its agent's sockets.
        name: such as g1.
    """
    return sockets / f"{PREFIX}{name}.sock"


def hear(place: Path, seconds: float = ASK_SECONDS) -> dict[str, Any] | None:
    """Hear how a gateway is; None where it lets us wait for longer than some seconds."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(seconds)
            line.connect(str(place))
            parts = b""
            while part := line.recv(65_536):
                parts += part
        said: dict[str, Any] = json.loads(parts)
    except (OSError, ValueError):
        return None
    return said


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
