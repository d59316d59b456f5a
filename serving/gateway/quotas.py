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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One gateway's part of a quota; None means without a limit, and 0 that nothing is left."""

    requests: int | None = None
    tokens: int | None = None


def part_of(quota: Quota, gateways: int, place: int) -> Part:
    """Give one gateway's part of a quota; all parts together are the quota, and never more.

    Args:
        quota: which.
        gateways: how many share it.
        place: which of them this is, from 0 on; what cannot be divided goes to the first ones.
    """

    def part(whole: int) -> int | None:
        return whole // gateways + (place < whole % gateways) if whole else None

    return Part(requests=part(quota.requests), tokens=part(quota.tokens))


@dataclass(slots=True, kw_only=True)
class Window:
    """What one caller asked of this gateway in the last minute.

    Seconds leave it whole and late: no minute has more requests than the limit. Tokens are known
    only once a request is answered, so the one that reaches their limit is answered still.
    """

    quota: Part

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
        if quota.requests is not None and self.requests >= quota.requests:
            left = self.requests - quota.requests + 1
            raise _full(quota.requests, "requests", self._room("requests", left, now))
        if quota.tokens is not None and self.tokens >= quota.tokens:
            left = self.tokens - quota.tokens + 1
            raise _full(quota.tokens, "tokens", self._room("tokens", left, now))
        self._at(int(now)).requests += 1
        self.requests += 1

    def spend(self, tokens: int, now: float | None = None) -> None:
        """Count the tokens of a request that was answered."""
        now = time.monotonic() if now is None else now
        self._at(int(now)).tokens += tokens
        self.tokens += tokens

    def idle(self, now: float) -> bool:
        """Whether nothing is left of it, so that a fresh one says the same."""
        self._forget(int(now))
        return not self.seconds

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
    if not most:
        said = f"This gateway has no part of this caller's {what} a minute: they are too few."
        return Refusal(429, said, "connect anew, or have the quota raised", retry=1)
    said = f"This caller has used up its {most} {what} a minute at this gateway."
    return Refusal(429, said, f"try again in {wait:.0f} s", retry=max(1.0, wait))
