"""Numbers of calls in the call store: the time of arrival, and what tells ties apart. Pure.

So the order of numbers is that of arrival, whichever gateway's segments were read first, a range of
time is a range of numbers, and every index has calls in this order.
"""

TIES = 11
"""Bits of a number that tell calls of one microsecond apart; the others are its time."""

LATEST_US: int = 2 ** (63 - TIES) - 2**29
"""In the year 2112. A line may claim any moment; all that claim a later one have this one's
numbers and those behind it, 2⁴⁰ of them."""


DAY_US = 86_400 * 1_000_000

MOST_NUMBER: int = 2**63
"""No number of a call is as large: no store could hold it."""


LATEST_CALENDAR_US = 253_402_300_799 * 10**6
"""The last second that a calendar of four digits has."""


def calendar(at_us: int) -> int:
    """Give the nearest moment that calendars have, in microseconds: a line may claim any."""
    return min(max(at_us, 0), LATEST_CALENDAR_US)


def day_of(at_us: int) -> int:
    """Give the day that a call has its number of, in days since the epoch."""
    return min(max(at_us, 0), LATEST_US) // DAY_US


def number_of(at_us: int) -> int:
    """Give the least number of a call that arrived at this microsecond."""
    moment: int = min(max(at_us, 0), LATEST_US)
    return moment << TIES
