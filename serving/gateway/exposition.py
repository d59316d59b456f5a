"""Prometheus' text format, as far as the answers of several gateways become one. Pure."""

import re
from collections.abc import Iterable, Mapping

_SERIES = re.compile(rb"^([a-zA-Z_:][\w:]*)([{ ])", re.MULTILINE)
_FAMILY = re.compile(rb"^(?=# HELP )", re.MULTILINE)

_UP = b"""\
# HELP slipway_gateway_up 1 where a gateway of this host said what it counts.
# TYPE slipway_gateway_up gauge
"""


def labelled(text: bytes, gateway: str) -> bytes:
    """Put a label `gateway` on every series.

    Args:
        text: of one gateway, whose series have no such label.
        gateway: its name, such as g1.
    """
    label = _label(gateway)

    def one(found: re.Match[bytes]) -> bytes:
        return b"%b{%b%b" % (found[1], label, b"," if found[2] == b"{" else b"} ")

    return _SERIES.sub(one, text)


def merged(texts: Iterable[bytes]) -> bytes:
    """Make one text of several, each family's series together as the format demands.

    Args:
        texts: each of whole families, as `prometheus_client` writes them; no series is in two.
    """
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for block in filter(None, _FAMILY.split(text)):
            says, kind, series = block.split(b"\n", 2)
            name = says.split(b" ", 3)[2]
            families.setdefault(name, [says + b"\n" + kind + b"\n"]).append(series)
    return b"".join(part for parts in families.values() for part in parts)


def standing(up: Mapping[str, bool]) -> bytes:
    """Write the family that says which gateways answered."""
    return _UP + b"".join(
        b"slipway_gateway_up{%b} %d\n" % (_label(name), good) for name, good in up.items()
    )


def _label(gateway: str) -> bytes:
    escaped = gateway.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'gateway="{escaped}"'.encode()
