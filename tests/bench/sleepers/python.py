import asyncio
import sys
import time

import peer

WATCHED = 10  # one of so many
ops = int(sys.argv[1])
latenesses = []


async def sleeper(delay, watch):
    due = time.monotonic() + delay
    await asyncio.sleep(delay)
    if watch:
        latenesses.append(time.monotonic() - due)


async def main():
    began = time.process_time()
    await asyncio.wait([asyncio.create_task(sleeper(i * 7919 % ops / ops, i % WATCHED == 0))
                        for i in range(ops)])
    print(f"ops={ops} cpu_ns={(time.process_time() - began) * 1e9:.0f}"
          f" late_ns={sum(latenesses) / len(latenesses) * 1e9:.0f}"
          f" early={sum(lateness < 0 for lateness in latenesses)}")

peer.run(main)
