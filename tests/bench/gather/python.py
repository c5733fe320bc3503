import asyncio
import sys
import time

import peer

ops, size = int(sys.argv[1]), int(sys.argv[2])


async def work():
    await asyncio.sleep(0)


async def main():
    began = time.process_time()
    for _ in range(ops // size):
        await asyncio.gather(*[work() for _ in range(size)])
    peer.report(ops // size * size, began)

peer.run(main)
