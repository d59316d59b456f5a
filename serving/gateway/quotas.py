"""How much a caller may ask within any minute."""

import time
from collections import deque
from dataclasses import dataclass, field

from release.callers import Quota
from serving.gateway.refusing import Refusal

MINUTE = 60


@dataclass(slots=True)
class _Second:
    second: int
    requests: int = 0
    tokens: int = 0


@dataclass(slots=True, kw_only=True)
class Window:
    """What one caller asked of this gateway in the last minute.

    Seconds leave it whole and late: no minute has more requests than the limit. Tokens are known
    only once a request is answered, so the one that reaches their limit is answered still.
    """

    quota: Quota
    """This gateway's part of it."""

    seconds: deque[_Second] = field(default_factory=deque)
    requests: int = 0
    tokens: int = 0

    def enter(self, now: float | None = None) -> None:
        """Count a request.

        Args:
            now: on the monotonic clock.

        Raises:
            Refusal: with status 429, saying when there is room again.
        """
        now = time.monotonic() if now is None else now
        self._forget(int(now))
        quota = self.quota
        if quota.requests and self.requests >= quota.requests:
            left = self.requests - quota.requests + 1
            raise _full(quota.requests, "requests", self._room("requests", left, now))
        if quota.tokens and self.tokens >= quota.tokens:
            left = self.tokens - quota.tokens + 1
            raise _full(quota.tokens, "tokens", self._room("tokens", left, now))
        self._at(int(now)).requests += 1
        self.requests += 1

    def spend(self, tokens: int, now: float | None = None) -> None:
        """Count the tokens of a request that was answered."""
        now = time.monotonic() if now is None else now
        self._at(int(now)).tokens += tokens
        self.tokens += tokens

    def _at(self, second: int) -> _Second:
        if not self.seconds or self.seconds[-1].second != second:
            self.seconds.append(_Second(second))
        return self.seconds[-1]

    def _forget(self, second: int) -> None:
        while self.seconds and self.seconds[0].second < second - MINUTE:
            gone = self.seconds.popleft()
            self.requests -= gone.requests
            self.tokens -= gone.tokens

    def _room(self, what: str, left: int, now: float) -> float:
        """Seconds until so much has left the window."""
        for one in self.seconds:
            left -= getattr(one, what)
            if left <= 0:
                return one.second + MINUTE + 1 - now
        return MINUTE + 1.0


def _full(most: int, what: str, wait: float) -> Refusal:
    said = f"This key has used up its {most} {what} a minute."
    return Refusal(429, said, f"try again in {wait:.0f} s", retry=max(1.0, wait))


def part_of(quota: Quota, gateways: int) -> Quota:
    """Give one gateway's part of a quota that several share; at least one of what is limited."""
    return Quota(
        requests=max(1, quota.requests // gateways) if quota.requests else 0,
        tokens=max(1, quota.tokens // gateways) if quota.tokens else 0,
    )
