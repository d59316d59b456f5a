"""Prometheus' text format, as far as the answers of several gateways become one. Pure."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from infra.troubles import Trouble

_SERIES = re.compile(rb"^([a-zA-Z_:][\w:]*)([{ ])", re.MULTILINE)
_FAMILY = re.compile(rb"^(?=# HELP )", re.MULTILINE)

_Family = tuple[str, str, str, Mapping[str, float]]
"""Name, kind, what it says, and each series' labels with its value."""


class _Behind(msgspec.Struct, frozen=True):
    calls: int
    bytes: int
    since: float


class _Indexer(msgspec.Struct, frozen=True):
    folded: int
    failures: Mapping[str, int]
    troubles: list[Trouble]
    behind: _Behind | None = None


_told = msgspec.json.Decoder(_Indexer).decode

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


def indexer(said: bytes, now: float) -> bytes:
    """Write what the indexer of a host says of itself, which has no gateway.

    Args:
        said: its JSON; empty, or anything else, where it says nothing.
        now: seconds since the epoch.
    """
    try:
        told = _told(said)
    except msgspec.MsgspecError:
        return _families(
            [("up", "gauge", "1 where this host's indexer says how it stands.", {"": 0})]
        )
    behind = told.behind
    found: list[_Family] = [
        ("up", "gauge", "1 where this host's indexer says how it stands.", {"": 1}),
        (
            "trouble",
            "gauge",
            "Things that are amiss with the call store.",
            {"": len(told.troubles)},
        ),
        ("folded_calls_total", "counter", "Calls folded into the call store.", {"": told.folded}),
        (
            "failures_total",
            "counter",
            "Times that something could not be done.",
            {f'{{work="{work}"}}': count for work, count in told.failures.items()},
        ),
    ]
    if behind is not None:
        waits = max(0.0, now - behind.since) if behind.since else 0.0
        found += [
            ("behind_calls", "gauge", "Calls that are not folded yet.", {"": behind.calls}),
            ("behind_bytes", "gauge", "Bytes that are not folded yet.", {"": behind.bytes}),
            ("behind_seconds", "gauge", "Since the first of them arrived.", {"": waits}),
        ]
    return _families(found)


def _families(found: Iterable[_Family]) -> bytes:
    lines = list[str]()
    for name, kind, says, series in found:
        whole = f"slipway_indexer_{name}"
        lines += [f"# HELP {whole} {says}", f"# TYPE {whole} {kind}"]
        lines += [f"{whole}{labels} {value}" for labels, value in series.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def _label(gateway: str) -> bytes:
    escaped = gateway.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'gateway="{escaped}"'.encode()
