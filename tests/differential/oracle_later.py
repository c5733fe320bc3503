"""Faults of CPython 3.11.2 that later versions mended, mended here as well.

loophost does not repeat them: each loses a cancellation, a notification or a
timeout. `run.py --strict` leaves the oracle as Debian ships it.
"""

import asyncio
import asyncio.timeouts

import oracle


def timeouts_compare_with_the_count_at_entry():
    """3.12 (gh-102780): a timeout inside a task that was cancelled before, for
    instance in its cleanup, still turns its own cancellation into a
    TimeoutError. 3.11.2 asks whether the count is nought."""
    State = asyncio.timeouts._State
    original = asyncio.timeouts.Timeout.__aenter__

    async def enter(self):
        # Whoever enters is the current task, which the original finds, too.
        self.cancelling = asyncio.current_task().cancelling()
        return await original(self)

    async def leave(self, kind, error, traceback):
        if self._timeout_handler is not None:
            self._timeout_handler.cancel()
            self._timeout_handler = None
        if self._state is State.EXPIRING:
            self._state = State.EXPIRED
            still = self._task.uncancel()
            if still <= self.cancelling and kind is asyncio.CancelledError:
                raise TimeoutError
        elif self._state is State.ENTERED:
            self._state = State.EXITED

    asyncio.timeouts.Timeout.__aenter__ = enter
    asyncio.timeouts.Timeout.__aexit__ = leave


def conditions_hand_on_a_notification():
    """3.13 (gh-112202): who was notified and then cancelled wakes another one,
    and the cancellation keeps its message. (3.13 wakes one as well when none
    was notified, a spurious wake-up; neither 3.11 nor loophost does.)"""

    async def wait(self):
        if not self.locked():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = self._get_loop().create_future()
        self.release()
        try:
            try:
                self._waiters.append(waiter)
                try:
                    await waiter
                    return True
                finally:
                    self._waiters.remove(waiter)
            finally:
                await lock_again(self)
        except BaseException:
            notified = waiter.done() and not waiter.cancelled()
            for each in self._waiters:
                if notified and not each.done():
                    each.set_result(False)
                    break
            raise

    async def lock_again(self):
        cancelled = None
        while True:
            try:
                await self.acquire()
                break
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    asyncio.Condition.wait = wait


def apply():
    timeouts_compare_with_the_count_at_entry()
    conditions_hand_on_a_notification()
