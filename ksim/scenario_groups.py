"""What the consumers of one group have to have in common, where the simulation asks for more than Kafka does.

Kafka: a group may hold members of both protocols while it is migrated (group.consumer.migration.policy); UniformHeterogeneousAssignmentBuilder.
"""

from __future__ import annotations

from collections.abc import Sequence

from ksim.plan import ConsumerPlan
from ksim.scenario_reading import Reading


def check_groups(reading: Reading, consumers: Sequence[ConsumerPlan]) -> None:
    groups: dict[str, list[ConsumerPlan]] = {}
    for consumer in consumers:
        if consumer.config.group_id is not None:
            groups.setdefault(consumer.config.group_id, []).append(consumer)
    for group, members in groups.items():
        first = members[0]
        for other in members[1:]:
            path = ("consumers", other.name, "config")
            if other.config.group_protocol != first.config.group_protocol:
                reading.problem(
                    path,
                    f"{other.name} and {first.name} are of group {group}, with different protocols: a group that is being migrated is not simulated.",
                    possible=f"group.protocol = {first.config.group_protocol}",
                )
            elif first.config.group_protocol == "consumer" and sorted(other.topics) != sorted(first.topics) and not _by_ranges(members):
                reading.problem(
                    path,
                    f"{other.name} and {first.name} are of group {group}, with different topics: the uniform assignor is simulated for equal topics only.",
                    possible="group.remote.assignor = range, for all members",
                )


def _by_ranges(members: Sequence[ConsumerPlan]) -> bool:
    return all(member.config.group_remote_assignor == "range" for member in members)
