import asyncio
import sys
import time

import peer

ops = int(sys.argv[1])


async def main():
    loop, left = asyncio.get_running_loop(), ops
    done = loop.create_future()

    def step():
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_soon(step)
        else:
            done.set_result(None)

    began = time.process_time()
    loop.call_soon(step)
    await done
    peer.report(ops, began)

peer.run(main)
