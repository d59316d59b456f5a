"""Draws by lot: what nothing that a client sends may decide."""

import secrets


def drawn(part: float) -> bool:
    """Whether one is among a part, 0..1, of all."""
    return part >= 1 or secrets.randbits(32) < part * 2**32
