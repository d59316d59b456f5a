"""Where the gateways of a host say how they are."""

from pathlib import Path

from serving.gateway.siblings import PREFIX


def status_socket(sockets: Path, name: str) -> Path:
    """Where a gateway tells how it is.

    Args:
        sockets: folder of its agent's sockets.
        name: such as g1.
    """
    return sockets / f"{PREFIX}{name}.sock"
