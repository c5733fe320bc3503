"""Queues that can be shut down: Python 3.13's addition, for the 3.11 oracle.

After shutdown() nobody can put, and who gets takes what is left and then
fails; immediate=True throws away what is left. Whoever waits is woken in
order, getters first, and finds out by looking again.
"""

import asyncio


class QueueShutDown(Exception):
    """put or get on a queue that was shut down."""


class ShutdownMixin:
    is_shutdown = False

    def shutdown(self, immediate=False):
        self.is_shutdown = True
        if immediate:
            while not self.empty():
                self._get()
                if self._unfinished_tasks > 0:
                    self._unfinished_tasks -= 1
            if self._unfinished_tasks == 0:
                self._finished.set()
        for waiters in (self._getters, self._putters):
            while waiters:
                waiter = waiters.popleft()
                if not waiter.done():
                    waiter.set_result(None)

    def put_nowait(self, item):
        if self.is_shutdown:
            raise QueueShutDown
        super().put_nowait(item)

    def get_nowait(self):
        if self.is_shutdown and self.empty():
            raise QueueShutDown
        return super().get_nowait()

    async def put(self, item):
        while self.full():
            if self.is_shutdown:
                raise QueueShutDown
            await self._queue_up(self._putters, lambda: not self.full())
        return self.put_nowait(item)

    async def get(self):
        while self.empty():
            if self.is_shutdown:
                raise QueueShutDown
            await self._queue_up(self._getters, lambda: not self.empty())
        return self.get_nowait()

    async def _queue_up(self, waiters, could_go_on):
        """Wait for a turn; whoever is cancelled passes the turn on."""
        waiter = self._get_loop().create_future()
        waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            waiter.cancel()
            if waiter in waiters:
                waiters.remove(waiter)
            if could_go_on() and not waiter.cancelled():
                self._wakeup_next(waiters)
            raise


class Queue(ShutdownMixin, asyncio.Queue):
    pass


class PriorityQueue(ShutdownMixin, asyncio.PriorityQueue):
    pass


class LifoQueue(ShutdownMixin, asyncio.LifoQueue):
    pass
