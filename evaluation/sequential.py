"""Bounds on a failure rate that hold at every moment at once.

A rollout is looked at again and again, so an interval that is right for one look would sooner or
later accuse the innocent. The beta-binomial mixture martingale (Robbins 1970; Howard, Ramdas,
McAuliffe and Sekhon 2021, doi:10.1214/20-AOS1991) bounds a Bernoulli rate for all sample sizes
simultaneously: by Ville's inequality the true rate ever leaves the sequence with probability at
most alpha.
"""

from math import lgamma, log, log1p

_PRIOR = 0.5
"""Both parameters of the mixing beta distribution (Krichevsky and Trofimov 1981)."""


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def rate_bounds(failures: int, requests: int, alpha: float) -> tuple[float, float]:
    """Bound a failure rate, whatever the moment at which it is asked for.

    Args:
        failures: seen so far, 0..requests.
        requests: seen so far.
        alpha: probability that the sequence of bounds ever misses the true rate.

    Returns:
        Lower and upper bound, within 0..1; (0, 1) where nothing was seen.
    """
    if not 0 <= failures <= requests:
        raise ValueError(f"{failures} failures of {requests} requests cannot be.")
    if not requests:
        return 0.0, 1.0
    passed = requests - failures
    evidence = _log_beta(_PRIOR + failures, _PRIOR + passed) - _log_beta(_PRIOR, _PRIOR)
    threshold = evidence + log(alpha)

    def likelihood(rate: float) -> float:
        bad = failures * log(rate) if failures else 0.0
        return bad + (passed * log1p(-rate) if passed else 0.0)

    peak = failures / requests
    low = 0.0 if not failures else _crossing(likelihood, threshold, 0.0, peak)
    high = 1.0 if not passed else _crossing(likelihood, threshold, 1.0, peak)
    return low, high


def _crossing(likelihood, threshold: float, outside: float, inside: float) -> float:  # type: ignore[no-untyped-def]
    """Bisect for the rate between `outside` and `inside` where the likelihood meets a threshold."""
    for _ in range(60):
        middle = (outside + inside) / 2
        if middle in (outside, inside):
            break
        if likelihood(middle) < threshold:
            outside = middle
        else:
            inside = middle
    return outside
