import asyncio
import sys
import time

import peer

ops = int(sys.argv[1])


async def work():
    pass


async def main():
    began = time.process_time()
    for _ in range(ops):
        await asyncio.create_task(work())
    peer.report(ops, began)

peer.run(main)
