"""A broker: one request of a connection at a time, for the partitions it leads; fetches for those it follows; the controller's word for who does which.

Kafka: SocketServer, KafkaApis, ReplicaManager, BrokerServer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ksim_models.config import BrokerConfig
from ksim_models.coordination import Coordination
from ksim_models.directories import Directories
from ksim_models.facts import CacheLost, GaveUp
from ksim_models.following import Following
from ksim_models.image import Image
from ksim_models.inbound import SERVED_ON_A_CLOSED_CONNECTION, Inbound
from ksim_models.leading import Leading
from ksim_models.log import Log
from ksim_models.log_tasks import INITIAL_DELAY, LogTasks
from ksim_models.machine import Asked, Close, Closed, Crashed, Dice, Effect, Event, Exit, Note, Opened, Received, Restarted, Send, Terminated, Wake
from ksim_models.membership import Membership
from ksim_models.messages import (
    AlterPartitionResponse,
    ApiVersionsRequest,
    ApiVersionsResponse,
    BrokerHeartbeatResponse,
    BrokerRegistrationResponse,
    CreateTopicsResponse,
    DeleteRecordsRequest,
    FetchRequest,
    FetchResponse,
    MetadataFetchResponse,
    MetadataRecord,
    MetadataRequest,
    ProduceRequest,
)
from ksim_models.page_cache import PageCache, PowerLossKeeps
from ksim_models.producer_ids import ProducerIds
from ksim_models.profiles import BrokerProfile
from ksim_models.quorum_membership import QuorumMembership
from ksim_models.raft_log import RaftDisk
from ksim_models.replica import Replica
from ksim_models.roles import Roles
from ksim_models.topic_asking import TopicAsking
from ksim_models.units import MILLISECOND, NEVER, Micros, ms

REPLICATION = (FetchRequest, FetchResponse, ProduceRequest)
"""Most of what comes, and it moves the clocks of leading and following only: the others are not asked again."""


class Broker:
    def __init__(
        self,
        name: str,
        number: int,
        profile: BrokerProfile,
        config: BrokerConfig,
        controller: str,
        dice: Dice,
        *,
        start_at: Micros,
        member: tuple[int, Sequence[MetadataRecord]] | None = None,
        quorum: tuple[Sequence[str], RaftDisk] | None = None,
        page_cache: PageCache | None = None,
        power_loss_keeps: PowerLossKeeps = PowerLossKeeps.NOTHING,
        loading_takes: Micros | None = None,
    ) -> None:
        """number: from 1, unique. member: the broker's epoch and the committed metadata log, if it belongs to the cluster from the start.
        quorum: the controllers, where there are several, and what this broker's disk holds of their log."""
        self.name, self.number = name, number
        self.profile, self.config = profile, config
        self.controller = controller
        self.quorum = quorum
        self.dice = dice
        self.logs: dict[str, Log] = {}
        """What survives a crash of the process (LR-3), and in part a power loss (LR-4)."""
        self.topic_ids: dict[str, int] = {}
        """Beside every log, and as durable."""
        self.directories = Directories(
            len((config.log_dirs or "").split(",")),
            ms(config.replica_high_watermark_checkpoint_interval_ms),
            ms(config.metadata_max_idle_interval_ms),
        )
        self.page_cache = page_cache or PageCache()
        self.power_loss_keeps = power_loss_keeps
        self.loading = loading_takes
        self.incarnation = 0
        self.clean_shutdown_epoch: int | None = None
        """What the clean-shutdown files hold: there are some after an orderly end, and with them the broker epoch (KC-58)."""
        self.connections_made = 0
        self.lag_check_every = ms(config.replica_lag_time_max_ms // 2) or NEVER
        """A period of nothing is no period: KafkaScheduler runs such a task once."""
        self._boot(start_at, previous_epoch=-1)
        self.given_records: Sequence[MetadataRecord] = member[1] if member is not None else ()
        if member is not None:
            self.membership.already_a_member(member[0], len(member[1]), start_at)

    def _boot(self, start_at: Micros, previous_epoch: int) -> None:
        """Everything volatile begins anew."""
        self.running = True
        self.stirred = True
        """Something but replication has happened since `elsewhere_at` was found: the next moment of all parts but leading and following."""
        self.elsewhere_at: Micros = NEVER
        self.booted_at = start_at
        self.image = Image()
        self.replicas: dict[str, Replica] = {}
        self.inbound: dict[str, Inbound] = {}
        self.unmuted: deque[str] = deque()
        self.leading = Leading(self.name, self.profile, self.config, self.replicas, self.image, self.directories)
        self.following = Following(self.name, self.profile, self.config, self.replicas, self._name_connection, self.directories)
        self.membership = self._new_membership(previous_epoch, start_at)
        self.asking = TopicAsking(self.config, self.image, self.membership)
        own, here = (self.name, self.profile, self.config), (self.image, self.replicas, self.leading)
        ids = ProducerIds(self.number, self.incarnation, lambda: self.membership.has_controller)
        self.coordination = Coordination(*own, *here, self.asking.ask, self._reply, self._name_connection, ids.next, start_at, self._is_open, self.loading)
        self.tasks = LogTasks(self.name, self.config, self.replicas, start_at, long_ago=self.incarnation == 0)
        disk = self.logs, self.topic_ids, self.directories
        self.roles = Roles(*own, self.page_cache, *disk, *here, self.following, self.membership, self.tasks, self.coordination)
        self.isr_check_at = start_at + self.lag_check_every
        self.idle_check_at: Micros = NEVER
        """No connection has been idle for too long before."""

    def _new_membership(self, previous_epoch: int, start_at: Micros) -> Membership:
        name, profile, config, dice, call = self.name, self.profile, self.config, self.dice, self._name_connection
        if self.quorum is None:
            return Membership(name, profile, config, self.controller, dice, call, self.incarnation, previous_epoch, start_at)
        return QuorumMembership(name, profile, config, *self.quorum, dice, call, self.incarnation, previous_epoch, start_at)

    def _is_open(self) -> bool:
        return self.membership.was_unfenced

    def _name_connection(self, peer: str) -> str:
        self.connections_made += 1
        return f"{self.name}->{peer}#{self.connections_made}"

    @property
    def wake_at(self) -> Micros | None:
        if not self.running:
            return None
        leading, following = self.leading, self.following
        if self.stirred:
            self.stirred, self.elsewhere_at = False, self._elsewhere_at()
        at = self.elsewhere_at
        if leading.parked or leading.sessions or leading.readers is not None:  # Else nobody waits for anything here; below the same for who follows nobody.
            at = min(at, leading.wake_at)
        return min(at, following.wake_at) if following.fetchers else at

    def _elsewhere_at(self) -> Micros:
        at = min(self.isr_check_at, self.membership.wake_at, self.idle_check_at, self.tasks.wake_at, self.directories.look_at)
        return min(at, self.coordination.wake_at) if self.coordination.in_use else at

    def handle(self, event: Event, now: Micros) -> list[Effect]:
        out: list[Effect] = []
        match event:
            case Received():
                if type(event.message) not in REPLICATION or self.directories.broken:
                    self.stirred = True
                inbound = self.inbound.get(event.connection)
                if inbound is None:
                    self._on_response(event.connection, event.message, now, out)
                else:
                    if inbound.busy:
                        inbound.queue.append(event.message)  # Not read yet: its connection is muted (BP-1).
                    else:
                        inbound.active_at = now
                        self._serve(event.connection, inbound, event.message, now, out)
            case _:
                self.stirred = True
                self._on_event(event, now, out)
        leading = self.leading
        if leading.answers or self.unmuted or leading.proposals:
            self._settle(now, out)
        if self.directories.look_at <= now:
            self._lose_directories(now, out)
        if self.membership.given_up and self.running:
            self._leave(now, out)
        return out

    def _on_event(self, event: Event, now: Micros, out: list[Effect]) -> None:
        """What is no message."""
        match event:
            case Wake():
                self._on_wake(now, out)
            case Opened():
                self._on_opened(event, now, out)
            case Closed():
                self._on_closed(event.connection, now, out)
            case Crashed():
                self._on_crashed(event.power_lost, now, out)
            case Terminated():
                self._on_terminated(now, out)
            case Restarted():
                self._on_restarted(now, out)
            case Asked():
                self._on_asked(event.request, now, out)

    def _on_terminated(self, now: Micros, out: list[Effect]) -> None:
        """KC-23. A broker that has never served has nothing to hand over, and leaves no mark of a clean shutdown either."""
        if not self._is_open():
            self.running = False
            out.append(Exit())
        elif not self.config.controlled_shutdown_enable:
            self._end(now, out)
        elif not self.roles.shutting_down:
            self.roles.shutting_down = True
            self.membership.begin_shutdown(now, out)

    def _leave(self, now: Micros, out: list[Effect]) -> None:
        """Whether it was asked to, or leaves by itself: not registered in time (KC-1), or unable to tell of a failed directory (BP-30)."""
        if self.membership.may_stop:
            self._end(now, out)
        else:
            self.membership.given_up = False
            out.append(Note(GaveUp(self.name, self.membership.why_it_gave_up)))
            self._on_terminated(now, out)

    def _end(self, now: Micros, out: list[Effect]) -> None:
        """BrokerServer.shutdown: requests that wait are dropped, logs are flushed and closed, with the high watermarks and a mark that all is well."""
        self.running = False
        for log in self.logs.values():
            log.close(now)
        self.clean_shutdown_epoch = self.membership.epoch if self.profile.clean_shutdown_epoch else -1
        out.append(Exit())

    def _lose_directories(self, now: Micros, out: list[Effect]) -> None:
        """A write has failed. Without any directory, or without that of the metadata log, the process halts (Exit.halt); else the controller is told."""
        lost = self.directories.notice()
        if not self.running or not lost:
            return
        if 0 in lost:
            self._on_crashed(False, now, out)
            out.append(Exit())
            return
        self.roles.go_offline()
        if self.profile.reports_failed_directories:
            self.membership.report(self.directories.offline(), now, out)

    def _on_crashed(self, power_lost: bool, now: Micros, out: list[Effect]) -> None:
        self.running = False
        drawn = self.power_loss_keeps is PowerLossKeeps.DRAWN
        for partition, log in self.logs.items():
            log.stop(now)
            if power_lost:
                before = log.log_end_offset
                if log.lose_power(now, self.dice.at("page cache", self.name, partition, self.incarnation) if drawn else 0.0) < before:
                    out.append(Note(CacheLost(self.name, partition, log.log_end_offset, before)))

    def _on_restarted(self, now: Micros, out: list[Effect]) -> None:
        """The process needs some time until it asks to be registered; its logs are as a crash or an orderly end left them."""
        self.incarnation += 1
        start_at = now + ms(self.profile.start_up_ms)
        for log in self.logs.values():
            log.come_back(now, start_at + INITIAL_DELAY)
        previous_epoch, self.clean_shutdown_epoch = self.clean_shutdown_epoch, None
        self._boot(start_at, -1 if previous_epoch is None else previous_epoch)
        if not self.directories.start():
            self.running = False
            out.append(Exit())
        elif self.profile.reports_failed_directories:
            self.membership.offline_replicas = self.directories.offline()

    def _on_asked(self, request: object, now: Micros, out: list[Effect]) -> None:
        match request:
            case DeleteRecordsRequest() if self.leading.delete_records(request, now, out):
                self.tasks.start_moved(now)

    def _on_wake(self, now: Micros, out: list[Effect]) -> None:
        if now < self.booted_at:
            return
        if self.given_records:
            self.roles.apply(self.given_records, now, out)
            self.given_records = ()
            out[:] = [effect for effect in out if type(effect) is not Note]  # The cluster was formed before the run: that is no news.
        self.membership.wake(now, out)
        self.following.wake(self.membership.epoch, now, out)
        self.leading.wake(now, out)
        if self.coordination.in_use:
            self.coordination.wake(now, out)
        self.tasks.wake(now, self.leading.tell_with_next_answer, out)
        if self.isr_check_at <= now:
            self.leading.check_isr(now)
            self.isr_check_at = now + self.lag_check_every
        if self.idle_check_at <= now:
            self._close_idle(now, out)

    def _close_idle(self, now: Micros, out: list[Effect]) -> None:
        """The broker's own connections.max.idle.ms (BP-6, N10): whoever sent nothing and was answered nothing for longer is cut off."""
        max_idle = ms(self.config.connections_max_idle_ms)
        for connection, inbound in list(self.inbound.items()):
            if not inbound.closed and inbound.active_at + max_idle < now:
                out.append(Close(connection))
                self._on_closed(connection, now, out)
        active = [inbound.active_at for inbound in self.inbound.values() if not inbound.closed]
        self.idle_check_at = min(active) + max_idle + MILLISECOND if active else NEVER

    def _on_opened(self, event: Opened, now: Micros, out: list[Effect]) -> None:
        if event.accepted and self._is_open():
            self.inbound[event.connection] = Inbound(event.peer, now)
            if self.idle_check_at == NEVER and self.config.connections_max_idle_ms >= 0:
                self.idle_check_at = now + ms(self.config.connections_max_idle_ms) + MILLISECOND
        elif event.accepted:
            out.append(Close(event.connection))  # Refused: a broker opens its port once the controller has unfenced it (BrokerServer.startup, KC-12).
        elif self.membership.owns(event.connection):
            self.membership.opened(event.connection, now, out)
        elif event.connection in self.following.by_connection:
            self.following.opened(event.connection, self.membership.epoch, now, out)
        else:
            self.coordination.opened(event.connection, now, out)

    def _on_closed(self, connection: str, now: Micros, out: list[Effect]) -> None:
        inbound = self.inbound.get(connection)
        if inbound is not None:
            inbound.closed = True  # The request at hand is finished all the same (BP-3).
            if self.leading.forget(connection) or not inbound.busy:
                del self.inbound[connection]
        elif self.membership.owns(connection):
            self.membership.closed(connection, now)
        elif connection in self.following.by_connection:
            self.following.closed(connection, now)
        else:
            self.coordination.closed(connection, now, out)

    # Requests.

    def _serve(self, connection: str, inbound: Inbound, request: object, now: Micros, out: list[Effect]) -> None:
        inbound.busy = True
        match request:
            case ProduceRequest():
                if request.transactional_id:
                    self.stirred = True
                    if self.coordination.check(connection, request, now, out):
                        return  # Its coordinator is asked first.
                response = self.leading.produce(connection, request, now, out)
                if request.acks == 0:
                    self._finish_unanswered(connection, inbound, any(result.error for result in response.results) if response else False, out)
                elif response is not None:
                    self._answer(connection, response, now, out)
            case FetchRequest():
                self.leading.fetch(connection, request, now, out)
            case MetadataRequest():
                self._answer(connection, self.image.describe(request.topics), now, out)
                if self.config.auto_create_topics_enable:
                    self.asking.ask_for_what_is_missing(request.topics, out)
            case ApiVersionsRequest():
                self._answer(connection, ApiVersionsResponse(0, self.profile.transaction_version, features_epoch=0), now, out)
            case _:
                self.stirred = True
                answer = self.coordination.apis[type(request)](connection, request, now, out)
                if answer is not None:
                    self._answer(connection, answer, now, out)

    def _reply(self, connection: str, response: object) -> None:
        """To a request that had to wait; sent when the event at hand is settled."""
        self.leading.answers.append((connection, response))

    def _answer(self, connection: str, response: object, now: Micros, out: list[Effect]) -> None:
        inbound = self.inbound.get(connection)
        if inbound is None:
            if told := self.leading.own.pop(connection, None):
                self.stirred = True
                told(response, now, out)
            return
        inbound.active_at = now
        if not inbound.closed:
            out.append(Send(connection, response))
            if not inbound.queue:
                inbound.busy = False  # All that `_finish` would do: the next request has not come yet.
                return
        else:
            inbound.answers_lost += 1
        self._finish(connection, inbound)

    def _finish_unanswered(self, connection: str, inbound: Inbound, refused: bool, out: list[Effect]) -> None:
        """acks=0 has no answer; an error shows only as a closed connection (BP-13)."""
        if refused:
            out.append(Close(connection))
            del self.inbound[connection]
        else:
            self._finish(connection, inbound)

    def _finish(self, connection: str, inbound: Inbound) -> None:
        """The request is done: the connection is unmuted (BP-1)."""
        inbound.busy = False
        if inbound.answers_lost >= SERVED_ON_A_CLOSED_CONNECTION:
            inbound.queue.clear()
        if inbound.queue:
            self.unmuted.append(connection)
        elif inbound.closed:
            del self.inbound[connection]

    def _settle(self, now: Micros, out: list[Effect]) -> None:
        """What the event set free: answers, the requests behind them, proposals to the controller. A loop, not recursion: a pipeline may be long."""
        leading = self.leading
        while leading.answers or self.unmuted or leading.proposals:
            if leading.answers:
                answers, leading.answers = leading.answers, []
                for connection, response in answers:
                    self._answer(connection, response, now, out)
            if self.unmuted:
                connection = self.unmuted.popleft()
                inbound = self.inbound[connection]
                inbound.active_at = now
                self._serve(connection, inbound, inbound.queue.popleft(), now, out)
            if leading.proposals:
                self.stirred = True
                proposals, leading.proposals = leading.proposals, []
                for replica in proposals:
                    self.roles.propose(replica, now)
                self.membership.wake(now, out)

    def _on_response(self, connection: str, message: object, now: Micros, out: list[Effect]) -> None:
        if type(message) is FetchResponse:
            self.following.received(connection, message, self.membership.epoch, now, out)
        elif self.membership.owns(connection):
            self._on_controllers_answer(self.membership.received(connection, message, now, out), now, out)
        else:
            self.coordination.received(connection, message, now, out)

    def _on_controllers_answer(self, message: object, now: Micros, out: list[Effect]) -> None:
        match message:
            case BrokerHeartbeatResponse():
                self.membership.heartbeat_answered(message, now)
            case MetadataFetchResponse():
                self.membership.metadata_came(message, out)
                self.roles.apply(message.records, now, out)
                self.coordination.metadata_changed(now, out)
            case CreateTopicsResponse():
                self.asking.answered(message.topics)
            case AlterPartitionResponse():
                self.membership.altered(message, now)
                for result in message.results:
                    self.roles.altered(result, now, out)
                self.membership.wake(now, out)
            case BrokerRegistrationResponse():
                self.membership.registered(message, now, out)

    # For the simulation's own questions.

    def is_serving(self, kind: type) -> bool:
        """A request of this kind is parked, or stands behind another."""
        waiting = (request for inbound in self.inbound.values() for request in inbound.queue)
        return (kind is ProduceRequest and bool(self.leading.parked)) or any(type(request) is kind for request in waiting)

    @property
    def settled(self) -> bool:
        """Running, unfenced, nothing asked of the controller."""
        membership = self.membership
        coordinates = self.coordination.in_use and not self.coordination.is_settled
        return not coordinates and self.running and not membership.fenced and not membership.leaving and not membership.items and not membership.asked_items
