import asyncio
import sys
import time

import peer

ops = int(sys.argv[1]) // 2 * 2


async def work(lock):
    for _ in range(ops // 2):
        await lock.acquire()
        await asyncio.sleep(0)
        lock.release()


async def main():
    lock = asyncio.Lock()
    began = time.process_time()
    await asyncio.wait([asyncio.create_task(work(lock)) for _ in range(2)])
    peer.report(ops, began)

peer.run(main)
