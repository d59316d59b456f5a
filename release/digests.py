"""Content addresses: the same content has the same name everywhere. Pure."""

import json
from hashlib import sha256
from typing import Any


def canonical(value: Any) -> bytes:
    """Encode a JSON value so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any) -> str:
    """Name a JSON value by its content: `sha256:` and 64 hexadecimal digits."""
    return f"sha256:{sha256(canonical(value)).hexdigest()}"
