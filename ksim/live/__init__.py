"""The live twin: the plan of a scenario carried out on real Kafka, with the same facts in the history.

Nothing in here is loaded before a replay is asked for: it needs the extra `live` (confluent-kafka, kio, psutil), Java and Maven.
"""
