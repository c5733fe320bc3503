import asyncio
import sys
import time

import peer

ops, size = int(sys.argv[1]), int(sys.argv[2])


async def main():
    loop, done = asyncio.get_running_loop(), 0

    def step():
        nonlocal done
        done += 1

    began = time.process_time()
    for _ in range(ops // size):
        for _ in range(size):
            loop.call_soon(step)
        await asyncio.sleep(0)
    peer.report(done, began)

peer.run(main)
