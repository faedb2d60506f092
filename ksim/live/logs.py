"""temporary"""

from __future__ import annotations

import asyncio
from typing import Any


class Watchers:
    def __init__(self, scene: Any, plan: Any, naming: Any, book: Any) -> None:
        self.scene, self.plan, self.naming, self.book = scene, plan, naming, book
        self.state: Any = None
        self.task: Any = None

    async def start(self) -> None:
        await self.look()
        self.task = asyncio.create_task(self.forever())

    async def forever(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            await self.look()

    async def look(self) -> None:
        topics = [self.naming.real(t.name) for t in self.plan.topics]
        for b in self.scene.brokers:
            try:
                self.state = await self.scene.ask.metadata(b, topics)
                return
            except Exception:
                pass

    def begin(self) -> None: ...

    async def stop(self) -> None:
        if self.task:
            self.task.cancel()
            self.task = None

    def _of(self, partition: str) -> Any:
        t, _, n = partition.rpartition("-")
        return self.state.partitions[self.naming.real(t), int(n)]

    def leader_of(self, partition: str) -> str:
        return self._of(partition).leader

    def isr_of(self, partition: str) -> tuple[str, ...]:
        return self._of(partition).isr

    def active_controller(self) -> str:
        return self.plan.controllers[0]
