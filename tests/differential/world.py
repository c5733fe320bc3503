"""One running program on the Python side: its log, its objects, its slots.

A program is a JSON tree (see generate.py). Its statements speak of shared
things by name: S0.. tasks and futures, G0.. groups, X0.. timeouts, H0..
handles, and declared objects (locks, queues, ...). The log is a list of lines
that say nothing of the language they come from; world.lua is the other half.
"""

import asyncio
import contextvars

import oracle
import oracle_queue

STEP_LIMIT = 1500

MAKERS = {
    "Lock": lambda spec, _: asyncio.Lock(),
    "Event": lambda spec, _: asyncio.Event(),
    "Condition": lambda spec, objects: asyncio.Condition(objects.get(spec.get("lock"))),
    "Semaphore": lambda spec, _: asyncio.Semaphore(spec["n"]),
    "BoundedSemaphore": lambda spec, _: asyncio.BoundedSemaphore(spec["n"]),
    "Barrier": lambda spec, _: asyncio.Barrier(spec["n"]),
    "Queue": lambda spec, _: oracle_queue.Queue(spec["n"]),
    "PriorityQueue": lambda spec, _: oracle_queue.PriorityQueue(spec["n"]),
    "LifoQueue": lambda spec, _: oracle_queue.LifoQueue(spec["n"]),
}

PLAIN_ERRORS = ("TimeoutError", "InvalidStateError", "DeadlockError", "QueueEmpty",
                "QueueFull", "QueueShutDown", "BrokenBarrierError")


class UserError(Exception):
    """An error that a program raises itself."""


def show_error(error):
    if isinstance(error, UserError):
        return f"UserError({error.args[0]})"
    if isinstance(error, asyncio.CancelledError):
        message = error.args[0] if error.args else None
        return f"CancelledError({'' if message is None else message})"
    if isinstance(error, BaseExceptionGroup):
        return f"ExceptionGroup[{', '.join(map(show_error, error.exceptions))}]"
    name = type(error).__name__
    if name in PLAIN_ERRORS:
        return name
    if isinstance(error, (RuntimeError, ValueError, AssertionError)):
        return "Misuse"
    return f"BUG {error!r}"


def show(value):
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, BaseException):
        return show_error(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(show, value))}]"
    return str(value)


class Frame:
    """One call of a function of the program, or one callback."""

    def __init__(self, label, number=None, task=None):
        self.label = label
        self.number = number
        self.task = task


class World:
    def __init__(self, program, loop, stats):
        self.program = program
        self.loop = loop
        self.stats = stats
        self.lines = []
        self.closed = False
        self.steps = 0
        self.frames = 0
        self.slots = {}
        self.groups = {}
        self.timeouts = {}
        self.handles = {}
        self.callbacks = {}
        self.counters = {}
        self.kids = {}      # task -> the tasks that work for it
        self.targets = {}   # task -> what it waits for now
        self.keep = []      # asyncio holds its tasks weakly
        self.vars = {name: contextvars.ContextVar(name, default=default)
                     for name, default in program["vars"]}
        self.make_objects()

    def make_objects(self):
        self.objects = {}
        for spec in self.program["objects"]:
            self.objects[spec["o"]] = MAKERS[spec["kind"]](spec, self.objects)

    def say(self, text):
        if not self.closed:
            self.lines.append(f"{self.loop.time() * 1000:.0f} {text}")

    def log(self, frame, st, text):
        self.say(f"{frame.label}.{st['i']} {text}")

    def exhausted(self):
        """A program that runs wild is cut off, on both sides alike."""
        if self.closed:
            raise GeneratorExit
        self.steps += 1
        if self.steps == STEP_LIMIT:
            self.say("step limit")
        return self.steps >= STEP_LIMIT

    def attempt(self, frame, st, fn, *args):
        """A call that may be misuse; a number it gives, or its error, is logged."""
        try:
            result = fn(*args)
        except Exception as error:
            self.log(frame, st, "!" + show_error(error))
        else:
            self.log(frame, st, str(result) if isinstance(result, int) else "ok")

    # Who waits for whom: asyncio follows a cycle of waits for ever when one
    # of them is cancelled, so the programs do not make one.

    def adopt(self, parent, task):
        if parent is not None and parent is not task:
            self.kids.setdefault(parent, []).append(task)

    def leads_to(self, start, goal, seen):
        if start is goal:
            return True
        if start in seen or start.done():
            return False
        seen.add(start)
        following = self.kids.get(start, []) + self.targets.get(start, [])
        return any(self.leads_to(each, goal, seen) for each in following)

    def target(self, frame, st, slot):
        """The future in a slot, if there is one that may be waited for."""
        future = self.slots.get(slot)
        if future is None:
            self.log(frame, st, f"no {slot}")
            return None
        if self.leads_to(future, frame.task, set()):
            self.log(frame, st, f"cycle {slot}")
            return None
        return future

    def waiting(self, frame, futures):
        """The frame's task is about to wait for these; its next statement
        says that it no longer does."""
        self.targets[frame.task] = futures

    def on_exception(self, loop, context):
        """Errors of callbacks are part of the log; complaints that come from
        the garbage collector are not."""
        if "handle" in context:
            self.say(f"handler {show_error(context['exception'])}")
        elif context["message"].startswith("unhandled exception during"):
            self.say(f"shutdown {show_error(context['exception'])}")


def new_loop():
    return oracle.VirtualLoop()
