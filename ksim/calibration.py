"""The costs of broker work as they were measured on real Kafka.

experiments/calibration holds the measurement, its machine and its spread; a test keeps these numbers what it says.
"""

from __future__ import annotations

from ksim.plan import Costs

MEASURED = Costs(append=30, fetch=37, flush=350, request=57, metadata=5_900)
CALIBRATED_ON = "AMD EPYC, 2 cores, Kafka 4.3.0, 2026-11-28"
"""Its machine, release and day."""
