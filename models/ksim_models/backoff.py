"""Waiting longer after each failure, with jitter.

Kafka: common.utils.ExponentialBackoff; KIP-580. One formula serves retries, metadata refreshes, reconnects and connection set-up (A28, M2, N7, N8).
"""

from __future__ import annotations

JITTER = 0.2


def exponential_backoff(initial_ms: int, max_ms: int, failures: int, draw: float) -> int:
    """Milliseconds to wait after `failures` earlier failures: doubled each time, spread by 20 % either way, cut to whole ms, never above the maximum.

    draw: uniform in [0, 1).
    """
    if max_ms <= initial_ms:
        return min(initial_ms, max_ms)
    doubled = float(initial_ms)
    for _ in range(failures):
        doubled *= 2
        if doubled >= max_ms:
            doubled = float(max_ms)  # The clamp of the exponent; that of the result comes after the jitter.
            break
    return min(max_ms, int((1 - JITTER + 2 * JITTER * draw) * doubled))
