import asyncio
import sys
import time

import peer

FIRST = 10
ops, size = int(sys.argv[1]), int(sys.argv[2])


def never():
    raise AssertionError("not readable")


async def main():
    loop, turns = asyncio.get_running_loop(), 0
    done = loop.create_future()

    def ready():
        nonlocal turns
        turns += 1
        if turns == ops:
            done.set_result(None)

    for fd in range(FIRST + 1, FIRST + size):
        loop.add_reader(fd, never)
    loop.add_reader(FIRST, ready)
    began = time.process_time()
    await done
    peer.report(ops, began)
    for fd in range(FIRST, FIRST + size):
        loop.remove_reader(fd)

peer.run(main)
