"""The ports that an agent holds for its gateways, so that their coming and going refuses nobody."""

import socket
from pathlib import Path

from infra.files import write_atomic
from release.errors import Conflict


def held(host: str, asked: int, kept: Path, setting: str, *, shared: bool) -> socket.socket:
    """Bind the port that is asked for, the one kept from before, or a free one; and keep it.

    It does not listen yet. Others of ours may bind it as well (`SO_REUSEPORT`): gateways that an
    agent before us left, and servers that listen for themselves.

    Args:
        host: address to bind.
        asked: port; 0 asks for none in particular.
        kept: file that remembers it.
        setting: variable by which people ask for another one.
        shared: whether it is taken by gateways of ours, which is as it should be.

    Raises:
        Conflict: somebody else has the port that is asked for, or there is no such address.
    """
    before = int(kept.read_text()) if kept.exists() and kept.read_text().isdigit() else 0
    wanted = asked or before
    if wanted and not shared and not _is_free(host, wanted):
        if asked:
            raise Conflict(
                f"Port {wanted} on {host} is taken by another process.",
                f"choose another with {setting}, or none to find a free one",
            )
        wanted = 0
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        _bind(found, host, asked, wanted)
    except OSError as error:
        found.close()
        said = f"Port {wanted} on {host} cannot be taken: {error}."
        raise Conflict(
            said, f"choose another with {setting}, or none to find a free one"
        ) from error
    write_atomic(kept, str(found.getsockname()[1]).encode())
    return found


def _bind(found: socket.socket, host: str, asked: int, wanted: int) -> None:
    """Bind a port; one that was only kept from before, and is not to be had, gives way to any."""
    try:
        found.bind((host, wanted))
    except OSError:
        if asked or not wanted:
            raise
        found.bind((host, 0))


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
