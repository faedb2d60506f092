"""The partitioner classes that come with the client.

Kafka: org.apache.kafka.clients.producer; KIP-480, KIP-794.
"""

from __future__ import annotations

PACKAGE = "org.apache.kafka.clients.producer."
ROUND_ROBIN = f"{PACKAGE}RoundRobinPartitioner"
DEFAULT = f"{PACKAGE}internals.DefaultPartitioner"
UNIFORM_STICKY = f"{PACKAGE}UniformStickyPartitioner"
REMOVED_IN_4_0 = (DEFAULT, UNIFORM_STICKY)
KNOWN = (ROUND_ROBIN, DEFAULT, UNIFORM_STICKY)
