"""Storms: drawn sequences of crashes, power losses, pauses and cuts on a small cluster, a function of their number."""

from __future__ import annotations

import random

from ksim.scenario import Scenario

DEEDS = ("crash", "power-loss", "pause", "cut brokers", "cut controller")


def storm(number: int, *, kafka: str = "4.3", latency: str = "20ms", deeds: tuple[str, ...] = DEEDS, settings: str = "", faults: int = 5) -> Scenario:
    """Within a minute, for 1 to 20 s each; two brokers at a time may be struck, and so may all."""
    draw = random.Random(number)
    text = f'title = "storm {number}"\nkafka = "{kafka}"\nseed = {number}\n[network]\nlatency = "{latency}"\n'
    text += "[topics.t]\nconfig.min.insync.replicas = 2\n" + settings + "[producers.p1]\nconfig.linger.ms = 0\n"
    text += '[[workload]]\ntopic = "t"\nrecords = 1200\nevery = "50ms"\n'
    for index in range(faults):
        deed = draw.choice(deeds)
        if deed == "delete-records":
            text += f'[[fault]]\nname = "{index}"\ndo = "{deed}"\npartition = "t-0"\n'
            text += f'at = "{draw.randrange(1_000, 55_000)}ms"\nbefore = {draw.randrange(-1, 1000)}\n'
            continue
        one, other = draw.sample([1, 2, 3], 2)
        text += f'[[fault]]\nname = "{index}"\nat = "{draw.randrange(1_000, 55_000)}ms"\nfor = "{draw.randrange(1_000, 20_000)}ms"\n'
        if deed.startswith("cut"):
            whom = f"broker-{other}" if deed == "cut brokers" else "controller-1"
            text += f'do = "cut"\nbetween = ["broker-{one}", "{whom}"]\n'
        else:
            text += f'do = "{deed}"\nwho = "broker-{one}"\n'
    return Scenario.loads(text)
