import asyncio
import sys
import time

import peer

ops, size = int(sys.argv[1]), int(sys.argv[2])


def nothing():
    pass


async def main():
    loop = asyncio.get_running_loop()
    others = [loop.call_later(10 + i * 7919 % 40009 / 1000, nothing) for i in range(size)]
    began = time.process_time()
    for i in range(ops):
        loop.call_later(10 + i * 7907 % 40009 / 1000, nothing).cancel()
        if i % 1000 == 0:
            await asyncio.sleep(0)  # the loop throws them out
    peer.report(ops, began)
    for handle in others:
        handle.cancel()

peer.run(main)
