"""CPython's asyncio as an oracle: a loop in virtual time, made deterministic.

Every patch here is a difference from plain CPython 3.11 that the contract
states (design.md, section 3), or the removal of an order that CPython itself
leaves to the addresses of objects. Nothing else may be patched: the rest of
asyncio is the measure.
"""

import asyncio
import asyncio.base_events
import asyncio.runners
import asyncio.taskgroups
import asyncio.tasks
import asyncio.timeouts
import itertools


class DeadlockError(Exception):
    """Nothing is ready, and no timer is left."""


class OrderedSet(dict):
    """The part of `set` that asyncio uses, in the order of insertion."""

    def add(self, item):
        self[item] = True

    def discard(self, item):
        self.pop(item, None)

    def remove(self, item):
        del self[item]


class TimerHandle(asyncio.TimerHandle):
    """Stated difference 1: equal deadlines are first come first served."""

    sequence = itertools.count()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._sequence = next(self.sequence)

    def __lt__(self, other):
        return (self._when, self._sequence) < (other._when, other._sequence)


class VirtualSelector:
    """Where a loop would wait, its clock jumps to the next timer instead."""

    def __init__(self, loop):
        self._loop = loop

    def select(self, timeout):
        self._loop.turn += 1
        if timeout is None:
            raise DeadlockError
        self._loop.now += timeout
        return ()


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """A loop that owns time, counts its turns and numbers its tasks."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.turn = 0
        self.tasks_made = 0
        self._selector = VirtualSelector(self)
        # Stated difference 2: timers are never early. asyncio runs what is
        # due *before* now + resolution, so the slack cannot be nought; it is
        # far below the eighths of a second in which the programs count.
        self._clock_resolution = 2.0 ** -40

    def time(self):
        return self.now

    def call_at(self, when, callback, *args, context=None):
        self._check_closed()
        timer = TimerHandle(when, callback, args, self, context)
        asyncio.base_events.heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def create_task(self, coro, *, name=None, context=None):
        task = super().create_task(coro, name=name, context=context)
        self.tasks_made += 1
        task.number = self.tasks_made
        return task

    async def shutdown_asyncgens(self):
        raise NotImplementedError("see close_runner")

    def _process_events(self, event_list):
        pass

    def _write_to_self(self):
        pass


class TaskGroup(asyncio.TaskGroup):
    """Cancels its children in the order of their creation, not of a set."""

    def __init__(self):
        super().__init__()
        self._tasks = OrderedSet()


async def wait(fs, *, timeout=None, return_when=asyncio.ALL_COMPLETED):
    """asyncio.wait, which adds its callbacks in the order of the list."""
    if not fs:
        raise ValueError("nothing to wait for")
    fs = list(dict.fromkeys(fs))
    loop = asyncio.get_running_loop()
    return await asyncio.tasks._wait(fs, timeout, return_when, loop)


def as_completed(fs, *, timeout=None):
    """asyncio.as_completed, which keeps the order of the list."""
    todo = OrderedSet()
    for fut in dict.fromkeys(fs):
        todo.add(asyncio.ensure_future(fut))
    done = asyncio.Queue()
    timer = None

    def on_timeout():
        for fut in todo:
            fut.remove_done_callback(on_completion)
            done.put_nowait(None)
        todo.clear()

    def on_completion(fut):
        if not todo:
            return
        todo.remove(fut)
        done.put_nowait(fut)
        if not todo and timer is not None:
            timer.cancel()

    async def next_one():
        fut = await done.get()
        if fut is None:
            raise TimeoutError
        return fut.result()

    for fut in todo:
        fut.add_done_callback(on_completion)
    if todo and timeout is not None:
        timer = asyncio.get_running_loop().call_later(timeout, on_timeout)
    for _ in range(len(todo)):
        yield next_one()


async def wait_for(awaitable, timeout):
    """Stated difference 3: 3.12's wait_for, a timeout in the same task."""
    if timeout is None or timeout > 0:
        async with asyncio.timeout(timeout):
            return await awaitable
    # No time at all: what is done already counts, anything else is cancelled
    # and waited for, by way of a waiter so that this wait can be cancelled.
    fut = asyncio.ensure_future(awaitable)
    if not fut.done():
        waiter = asyncio.get_running_loop().create_future()

        def release(_):
            if not waiter.done():
                waiter.set_result(None)

        fut.add_done_callback(release)
        try:
            fut.cancel()
            await waiter
        finally:
            fut.remove_done_callback(release)
        try:
            return fut.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    return fut.result()


def cancel_all_tasks(loop):
    """What asyncio.run does to leftovers, in the order of their creation."""
    leftovers = sorted(asyncio.all_tasks(loop), key=lambda task: task.number)
    if not leftovers:
        return
    for task in leftovers:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*leftovers, return_exceptions=True))
    for task in leftovers:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler({
                "message": "unhandled exception during shutdown",
                "exception": task.exception(),
                "task": task,
            })


def close_runner(runner):
    """Runner.close without the turns that it spends on two things that Lua
    has not: asynchronous generators and a pool of threads."""
    loop = runner.get_loop()
    try:
        cancel_all_tasks(loop)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
