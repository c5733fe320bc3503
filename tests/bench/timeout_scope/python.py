import asyncio
import sys
import time

import peer

ops = int(sys.argv[1])


async def main():
    loop = asyncio.get_running_loop()
    began = time.process_time()
    for i in range(ops):
        async with asyncio.timeout(30):
            future = loop.create_future()
            loop.call_soon(future.set_result, i)
            await future
    peer.report(ops, began)

peer.run(main)
