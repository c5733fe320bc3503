import asyncio
import sys
import time

import peer

ops, count = int(sys.argv[1]), int(sys.argv[2])
each = ops // count


async def work():
    for _ in range(each):
        await asyncio.sleep(0)


async def main():
    tasks = [asyncio.create_task(work()) for _ in range(count)]
    began = time.process_time()
    await asyncio.wait(tasks)
    peer.report(each * count, began)

peer.run(main)
