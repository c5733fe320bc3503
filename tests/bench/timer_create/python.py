import asyncio
import sys
import time

import peer

ops, size = int(sys.argv[1]), int(sys.argv[2])


def nothing():
    pass


async def main():
    loop, began = asyncio.get_running_loop(), time.process_time()
    for _ in range(ops // size):
        handles = [loop.call_later(3600 + i * 7919 % 1000003 / 1000, nothing)
                   for i in range(size)]
        for handle in handles:
            handle.cancel()
        await asyncio.sleep(0)  # the loop throws them out
    peer.report(ops // size * size, began)

peer.run(main)
