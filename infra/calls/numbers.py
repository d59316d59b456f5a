"""Numbers of calls in the call store: the time of arrival, and what tells ties apart. Pure.

So the order of numbers is that of arrival, whichever gateway's segments were read first, a range of
time is a range of numbers, and every index has calls in this order.
"""

TIES = 11
"""Bits of a number that tell calls of one microsecond apart; the others are its time."""

LATEST_US: int = 2 ** (62 - TIES)
"""A line may claim any moment, and a number has 63 bits; half of them are left for ties there."""


def number_of(at_us: int) -> int:
    """Give the least number of a call that arrived at this microsecond."""
    moment: int = min(max(at_us, 0), LATEST_US)
    return moment << TIES
