"""The rules: what Kafka's producer, brokers and controller do, as pure state machines.

Nothing in this package knows the time, chance, SimPy or a file: a machine is told what happened and when, and answers with what it wants done.
"""
