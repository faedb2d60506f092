"""Waiting longer after each failure, with jitter.

Kafka: common.utils.ExponentialBackoff; KIP-580. One formula serves retries, metadata refreshes, reconnects and connection set-up (A28, M2, N7, N8).
"""

from __future__ import annotations

JITTER = 0.2


def exponential_backoff(initial_ms: int, max_ms: int, failures: int, draw: float, *, capped: bool = True, jitter: float = JITTER) -> int:
    """Milliseconds to wait after `failures` earlier failures: doubled each time, spread by the jitter either way, cut to whole ms, never above the maximum.

    draw: uniform in [0, 1). capped: false before 3.7, where the maximum bounds the doubling only: the wait may be up to 20 % longer than it,
    and is the initial one for ever where that is the larger.
    """
    if max_ms <= initial_ms:
        return max_ms if capped else initial_ms
    doubled = float(initial_ms)
    for _ in range(failures):
        doubled *= 2
        if doubled >= max_ms:
            doubled = float(max_ms)  # The clamp of the exponent; that of the result comes after the jitter.
            break
    spread = int((1 - jitter + 2 * jitter * draw) * doubled)
    return min(max_ms, spread) if capped else spread


def succession_backoff_ms(place: int, count: int, most_ms: int) -> int:
    """strictExponentialElectionBackoffMs: of those whom a leader that resigned prefers the first stands at once, the others one after the other.

    place: among the `count` preferred, from 0; below 0: not one of them.
    """
    if place == 0 or not count:
        return 0
    if place < 0:
        return most_ms
    return min(most_ms, (most_ms >> (count - 1)) << (place - 1))
