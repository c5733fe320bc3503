import asyncio
import sys
import time

import peer

ops, count = int(sys.argv[1]), int(sys.argv[2])
rounds, woken = ops // count, 0


async def work(event):
    global woken
    for _ in range(rounds):
        await event.wait()
        woken += 1


async def main():
    event = asyncio.Event()
    tasks = [asyncio.create_task(work(event)) for _ in range(count)]
    await asyncio.sleep(0)
    began = time.process_time()
    for i in range(1, rounds + 1):
        event.set()
        event.clear()
        while woken < i * count:
            await asyncio.sleep(0)
    await asyncio.wait(tasks)
    peer.report(woken, began)

peer.run(main)
