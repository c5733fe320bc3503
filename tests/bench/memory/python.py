import asyncio
import os
import sys

import peer

ops = int(sys.argv[1])


async def sleeper():
    await asyncio.sleep(3600)


async def main():
    before = peer.resident()
    tasks = [asyncio.create_task(sleeper()) for _ in range(ops)]
    await asyncio.sleep(0)
    print(f"ops={len(tasks)} bytes={peer.resident() - before}", flush=True)
    os._exit(0)

peer.run(main)
