"""The commands of `ksim`, one module each; `command` is what the command line calls.

Not Kafka's: section 4 of the public contract. A module here imports click and what it needs for its options; all else is imported when the command runs.
"""
