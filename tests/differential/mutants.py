"""Oracles with one fault each: would the test see it?

`run.py --mutants` runs the same programs on the oracle and on each of these,
and says how many logs differ. A mutant that no program notices is a hole in
the generator.
"""

import asyncio
import asyncio.locks
import asyncio.queues
import asyncio.tasks
import asyncio.timeouts

import oracle
import oracle_queue

MUTANTS = {}


def mutant(fn):
    MUTANTS[fn.__name__] = fn
    return fn


@mutant
def wait_for_as_in_311():
    oracle.wait_for = asyncio.wait_for


@mutant
def equal_timers_last_come_first_served():
    oracle.TimerHandle.__lt__ = lambda self, other: (
        (self._when, -self._sequence) < (other._when, -other._sequence))


@mutant
def timeouts_forget_to_uncancel():
    asyncio.timeouts.Timeout.__aexit__ = without_uncancel(asyncio.timeouts.Timeout.__aexit__)


@mutant
def groups_forget_to_uncancel():
    oracle.TaskGroup.__aexit__ = without_uncancel(asyncio.TaskGroup.__aexit__)


def without_uncancel(original):
    class Shy:
        def __init__(self, task):
            self.task = task

        def __getattr__(self, name):
            return (lambda: 0) if name == "uncancel" else getattr(self.task, name)

    async def changed(self, *args):
        attribute = "_task" if hasattr(self, "_task") else "_parent_task"
        setattr(self, attribute, Shy(getattr(self, attribute)))
        return await original(self, *args)
    return changed


@mutant
def groups_do_not_cancel_siblings():
    def abort(self):
        self._aborting = True
    oracle.TaskGroup._abort = abort


@mutant
def shield_does_not_shield():
    asyncio.shield = asyncio.ensure_future


@mutant
def sleeping_nought_takes_two_turns():
    original = asyncio.sleep

    async def sleep(delay, result=None):
        if delay <= 0:
            await original(0)
        return await original(delay, result)
    asyncio.sleep = sleep


@mutant
def past_timeouts_fire_at_once():
    original = asyncio.timeouts.Timeout.reschedule

    def reschedule(self, when):
        original(self, when)
        if when is not None and when <= asyncio.get_running_loop().time():
            self._timeout_handler.cancel()
            self._on_timeout()
    asyncio.timeouts.Timeout.reschedule = reschedule


@mutant
def a_cancelled_getter_keeps_its_turn():
    original = oracle_queue.ShutdownMixin._queue_up
    oracle_queue.ShutdownMixin._queue_up = (
        lambda self, waiters, could_go_on: original(self, waiters, lambda: False))


@mutant
def a_cancelled_locker_keeps_its_turn():
    original = asyncio.Lock.acquire

    async def acquire(self):
        wake = self._wake_up_first
        self._wake_up_first = lambda: None
        try:
            return await original(self)
        finally:
            self._wake_up_first = wake
    asyncio.Lock.acquire = acquire


@mutant
def condition_forgets_a_cancel_while_locking():
    async def wait(self):
        if not self.locked():
            raise RuntimeError
        self.release()
        fut = self._get_loop().create_future()
        self._waiters.append(fut)
        try:
            await fut
            return True
        finally:
            self._waiters.remove(fut)
            await self.acquire()
    asyncio.Condition.wait = wait


@mutant
def semaphore_forgets_a_permit():
    original = asyncio.Semaphore.acquire

    async def acquire(self):
        try:
            return await original(self)
        except asyncio.CancelledError:
            self._value = max(0, self._value - 1)
            raise
    asyncio.Semaphore.acquire = acquire


@mutant
def semaphore_lets_newcomers_pass():
    asyncio.Semaphore.locked = lambda self: self._value == 0


@mutant
def barrier_drains_without_waiting():
    async def block(self):
        if self._state is asyncio.locks._BarrierState.BROKEN:
            raise asyncio.BrokenBarrierError
    asyncio.Barrier._block = block


@mutant
def shutdown_keeps_unfinished_count():
    original = oracle_queue.ShutdownMixin.shutdown

    def shutdown(self, immediate=False):
        before = self._unfinished_tasks
        original(self, immediate)
        self._unfinished_tasks = before
    for cls in (oracle_queue.Queue, oracle_queue.PriorityQueue, oracle_queue.LifoQueue):
        cls.shutdown = shutdown


@mutant
def gather_takes_duplicates_for_two():
    original = asyncio.gather

    def gather(*items, return_exceptions=False):
        distinct = [asyncio.shield(item) if item in items[:place] else item
                    for place, item in enumerate(items)]
        return original(*distinct, return_exceptions=return_exceptions)
    asyncio.gather = gather


@mutant
def cancel_messages_are_lost():
    original = oracle.VirtualLoop.create_task

    class Task(asyncio.tasks._PyTask):
        def cancel(self, msg=None):
            return super().cancel()

    def create_task(self, coro, *, name=None, context=None):
        self.set_task_factory(
            lambda loop, coro, context=None: Task(coro, loop=loop, context=context))
        return original(self, coro, name=name, context=context)
    oracle.VirtualLoop.create_task = create_task


@mutant
def children_share_their_parents_context():
    import contextvars
    original = oracle.VirtualLoop.create_task
    context_of = {}

    def create_task(self, coro, *, name=None, context=None):
        parent = asyncio.current_task(self) if self.is_running() else None
        if context is None:
            context = context_of.get(parent) or contextvars.copy_context()
        task = original(self, coro, name=name, context=context)
        context_of[task] = context
        return task
    oracle.VirtualLoop.create_task = create_task


@mutant
def leftovers_are_not_cancelled():
    oracle.cancel_all_tasks = lambda loop: None
