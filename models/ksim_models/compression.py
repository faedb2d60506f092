"""How large a batch will be once it is compressed: what the client expects, and what comes out.

Kafka: CompressionRatioEstimator, MemoryRecordsBuilder.estimatedBytesWritten. A ratio is compressed / uncompressed, as in the metric compression-rate-avg,
in millionths. What compresses how well is the workload's affair: no codec runs here, and none is better than another.
"""

from __future__ import annotations

WHOLE = 1_000_000
DEFAULT_RATIO = 500_000
"""Where nobody said how well the records compress: to a half, which any codec reaches with records of text that are alike."""
WORSE_AT_LEAST = 50_000
"""COMPRESSION_RATIO_DETERIORATE_STEP."""
BETTER_AT_MOST = 5_000
"""COMPRESSION_RATIO_IMPROVING_STEP."""
NOT_COMPRESSED = 0


def expected_bytes(raw: int, estimate: int) -> int:
    """A13: 5 % more than the estimate says, so that a batch is rather too small than too large. Simplified: Java reckons in floats, a byte may differ."""
    return raw * estimate * 105 // (100 * WHOLE)


def compressed_bytes(mean: int, spread: int, draw: float) -> int:
    """What comes out: bytes of records times their ratio, in millionths of a byte, and at most so much above or below that."""
    return max(1, (mean - spread + int(draw * (2 * spread + 1))) // WHOLE)


class RatioEstimates:
    """A14: per topic, for the one codec of a producer. Simplified: Java shares them among the producers of a process; here each is a process of its own."""

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self.by_topic: dict[str, int] = {}
        self.changes = 0

    def of(self, topic: str) -> int:
        return NOT_COMPRESSED if self.codec == "none" else self.by_topic.get(topic, WHOLE)

    def observed(self, topic: str, ratio: int) -> None:
        """A batch was closed: worse news is believed at once, better news slowly."""
        known = self.by_topic.get(topic, WHOLE)
        if ratio > known:
            self._set(topic, max(known + WORSE_AT_LEAST, ratio))
        elif ratio < known:
            self._set(topic, max(known - BETTER_AT_MOST, ratio))

    def refused(self, topic: str, ratio: int) -> None:
        """A43: a batch was too large for the broker, so for now nothing is expected of compression."""
        self._set(topic, max(WHOLE, ratio))

    def _set(self, topic: str, ratio: int) -> None:
        self.by_topic[topic] = ratio
        self.changes += 1
