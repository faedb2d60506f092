"""The application of a transactional producer: it begins a transaction, sends its records, and ends it, again and again.

Not Kafka's. Its calls are those of `transactional_calls`; when the producer is of no use any more, whatever else is sent with it is refused.
"""

from __future__ import annotations

from ksim_models.application import Application, TransactionalThread
from ksim_models.machine import Effect
from ksim_models.on_failure import Reaction
from ksim_models.transactional_calls import At, BlockingCall, CallingThread, TransactionalClient
from ksim_models.transactional_send import API_EXCEPTIONS
from ksim_models.units import NEVER, Micros


class Session(CallingThread):
    """One thread of the application, and the transactions that it goes through."""

    def __init__(self, producer: str, thread: TransactionalThread, client: TransactionalClient) -> None:
        super().__init__(producer, client)
        plan = thread.arrivals.transaction
        assert plan is not None
        self.transactions = client
        self.thread = thread
        self.plan = plan
        self.begins_at = plan.begins_at
        self.thinks_until: Micros = NEVER
        self.wanted_abort = False
        self.offered_from = 0
        self.resent: list[tuple[int, int]] = []

    @property
    def is_over(self) -> bool:
        return self.thread.is_done

    @property
    def wake_at(self) -> Micros:
        match self.at:
            case At.WAITING:
                return self.thread.is_due_at()
            case At.THINKING:
                return self.thinks_until
            case _:
                return super().wake_at

    def close(self) -> None:
        super().close()
        self.thread.is_over = True
        self.thread.quota = 0

    # Its steps.

    def _go_on(self, now: Micros, out: list[Effect]) -> bool:
        match self.at:
            case At.WAITING:
                return self._begin_if_due(now, out)
            case At.SENDING:
                return self._look_at_sends(now, out)
            case At.THINKING if now >= self.thinks_until:
                self._end(now, out)
                return True
            case _:
                return False

    def _begin_if_due(self, now: Micros, out: list[Effect]) -> bool:
        thread = self.thread
        if thread.is_over:
            return False
        if thread.is_due_at() > now:
            thread.is_over = thread.has_offered and not thread.again
            return False
        if self._begin(out):
            self.offered_from = thread.next
            self.resent = list(thread.again)
            thread.refusal = "", ""
            self._pause("send", now)
        return True

    def _send(self, now: Micros, out: list[Effect]) -> None:
        self.at = At.SENDING
        self.thread.open(self.plan.records)

    def _look_at_sends(self, now: Micros, out: list[Effect]) -> bool:
        thread = self.thread
        if thread.blocked_on:
            return False
        error = thread.refusal[0]
        if error and error not in API_EXCEPTIONS:  # Thrown: the thread has left its loop.
            self._abort(now, out)
            return True
        if thread.waits_for_each and (self.transactions.has_error or error):  # So has one that waits for the outcome of each.
            self._abort(now, out)
            return True
        if thread.sends < thread.quota and not (thread.has_offered and not thread.again):
            return False
        if thread.waits_for_each and thread.outstanding:
            return False
        self.at, self.thinks_until = At.THINKING, now + self.plan.think
        return True

    def _end(self, now: Micros, out: list[Effect]) -> None:
        every = self.plan.abort_every
        if self.plan.commits and not (every and self.transactions.number % every == 0):
            self._tell("commit", out)
            self._pause("commit", now)
        else:
            self._abort(now, out, wanted=True)

    def _abort(self, now: Micros, out: list[Effect], *, wanted: bool = False) -> None:
        self.wanted_abort = wanted
        self.thread.quota = 0
        super()._abort(now, out)

    def _call(self, name: str, now: Micros) -> None:
        self.thread.quota = 0
        super()._call(name, now)

    def _returned(self, call: BlockingCall, now: Micros, out: list[Effect]) -> None:
        self.thread.free_at = now
        super()._returned(call, now, out)

    def _succeeded(self, name: str, now: Micros, out: list[Effect]) -> None:
        self.at = At.WAITING
        if name == "commit":
            self._tell("committed", out)
        elif name == "abort":
            self._tell("aborted", out)
            self._go_on_behind_an_abort()

    def _go_on_behind_an_abort(self) -> None:
        thread = self.thread
        if self.wanted_abort or thread.on_failure.reaction is Reaction.REPORT:
            return
        if thread.on_failure.reaction is Reaction.STOP:
            thread.stopped = thread.gave_up = True
        elif thread.on_failure.reaction is Reaction.RESEND:
            mine = range(self.offered_from, thread.next)
            thread.again.clear()
            thread.again.extend([*self.resent, *((number, number) for number in mine)])

    def _come_to_an_end(self, out: list[Effect]) -> None:
        """What the application sends from now on is refused."""
        self.at = At.OVER
        self.thread.is_over = self.thread.in_vain = True
        self.thread.again.clear()
        self.thread.open(self.thread.arrivals.total + 1)


def session_of(application: Application, client: TransactionalClient) -> Session | None:
    """A producer's application has one thread that goes through transactions, or none."""
    for thread in application.threads:
        if isinstance(thread, TransactionalThread):
            return Session(application.producer, thread, client)
    return None
