"""The costs of broker work as they were measured on real Kafka.

experiments/calibration holds the measurement, its machine and its spread; a test keeps these numbers what it says.
"""

from __future__ import annotations

from ksim.plan import Costs

MEASURED = Costs(append=17, fetch=47, flush=4_300, request=23, metadata=5_100)
CALIBRATED_ON = "AMD EPYC, 2 cores, Kafka 4.3.0, 2026-11-27"
"""Its machine, release and day."""
