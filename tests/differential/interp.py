"""Runs programs with asyncio: interp.py PROGRAMS.json FIRST. See oracle.py."""

import asyncio
import contextvars
import json
import logging
import sys
import warnings

import oracle
import oracle_later
from mutants import MUTANTS
from now import status_of
from waits import Interp
from world import World, new_loop, show, show_error

STATS_MARK = "=== stats "
FOREVER_SECONDS = 3


async def main_of(interp, name):
    world = interp.world
    world.slots["M"] = asyncio.current_task()
    world.keep.append(world.slots["M"])
    return await interp.function(name, None)


def report_call(world, fn, *args):
    """One call into the loop; how it ended is part of the log."""
    try:
        world.say(f"returns {show(fn(*args))}")
    except oracle.DeadlockError:
        world.say("deadlock")
    except BaseException as error:
        world.say(f"fails {show_error(error)}")


def enter_runner(interp, program):
    runner = asyncio.Runner(loop_factory=lambda: interp.world.loop)
    runner.get_loop()
    for name in program["mains"]:
        report_call(interp.world, lambda: runner.run(main_of(interp, name)))
    report_call(interp.world, oracle.close_runner, runner)


def enter_run(interp, program):
    def run():
        runner = asyncio.Runner(loop_factory=lambda: interp.world.loop)
        try:
            return runner.run(main_of(interp, program["mains"][0]))
        finally:
            oracle.close_runner(runner)
    report_call(interp.world, run)


def enter_loop(interp, program):
    loop = interp.world.loop
    for name in program["mains"]:
        report_call(interp.world, loop.run_until_complete, main_of(interp, name))
    loop.close()


def enter_forever(interp, program):
    loop = interp.world.loop
    for name in program["mains"]:
        task = loop.create_task(main_of(interp, name))
        loop.call_later(FOREVER_SECONDS, loop.stop)
        report_call(interp.world, loop.run_forever)
        interp.world.say(status_of(task))
    loop.close()


ENTRIES = {"runner": enter_runner, "run": enter_run, "loop": enter_loop, "forever": enter_forever}


def run_program(program, stats):
    loop = new_loop()
    world = World(program, loop, stats)
    loop.set_exception_handler(world.on_exception)
    ENTRIES[program["entry"]](Interp(world), program)
    world.say("closed")
    world.closed = True
    return world.lines


def silence():
    """What is left of a program when its log is complete interests nobody."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None


def main(arguments):
    silence()
    if arguments[0] == "--strict":
        arguments = arguments[1:]
    else:
        oracle_later.apply()
    if arguments[0] == "--mutant":
        MUTANTS[arguments[1]]()
        arguments = arguments[2:]
    with open(arguments[0], encoding="utf-8") as file:
        programs = json.load(file)
    stats = {}
    for number in range(int(arguments[1]), len(programs)):
        lines = contextvars.Context().run(run_program, programs[number], stats)
        print(f"=== begin {number}", *lines, f"=== end {number}", sep="\n")
    print(STATS_MARK + json.dumps(stats))


if __name__ == "__main__":
    main(sys.argv[1:])
