"""What the programs for asyncio have in common; they run under uvloop if PEER says so."""

import asyncio
import os
import time


def run(main):
    if os.environ.get("PEER") == "uvloop":
        import uvloop
        uvloop.install()
    asyncio.run(main())


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def report(ops, began):
    print(f"ops={ops} cpu_ns={(time.process_time() - began) * 1e9:.0f}", flush=True)
