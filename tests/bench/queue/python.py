import asyncio
import sys
import time

import peer

ops = int(sys.argv[1])


async def producer(queue):
    for i in range(ops):
        await queue.put(i)


async def main():
    queue = asyncio.Queue(1)
    began = time.process_time()
    task = asyncio.create_task(producer(queue))
    for _ in range(ops):
        await queue.get()
    await task
    peer.report(ops, began)

peer.run(main)
