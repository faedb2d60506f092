"""What the controllers of a quorum have committed, all of them taken together, and what it adds up to.

Not Kafka's: no process knows it. The history is written from it, each fact by the leader that first sees its record committed; the faults and the end of
a simulation ask it who leads; and the invariants hold every voter's log against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ksim_models.config import BrokerConfig
from ksim_models.decisions import Decisions
from ksim_models.messages import LeaderChangeRecord, MetadataRecord, NoOpRecord
from ksim_models.metadata_log import MetadataLog
from ksim_models.quorum_messages import MetadataEntry


class CommitBook(Decisions):
    def __init__(self, formed: Iterable[MetadataRecord], leader: str, config: BrokerConfig) -> None:
        records = [*formed, LeaderChangeRecord(leader, 1)]
        self.entries = [MetadataEntry(1, record) for record in records]
        self._log = MetadataLog(records, config)
        self.news_end = len(records)
        """Where the last record ends that changes anything for a broker."""

    def learn(self, log: Sequence[MetadataEntry], end: int) -> list[object]:
        """The log of a leader, committed up to there. Answers with the facts that are new."""
        facts: list[object] = []
        for entry in log[len(self.entries) : end] if end > len(self.entries) else ():
            self.entries.append(entry)
            self._log.append(entry.record, (), 0)
            facts.extend(entry.told)
            if not isinstance(entry.record, LeaderChangeRecord | NoOpRecord):
                self.news_end = len(self.entries)
        if facts or self._log.uncommitted:
            self._log.commit()
        return facts
