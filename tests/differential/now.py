"""The statements that never wait, on the Python side. Callbacks use them too.

Each is a function of the world, the frame and the statement; its name is the
statement's kind. now.lua has the same functions under the same names.
"""

import asyncio
import functools

from world import Frame, UserError, show, show_error

NOW = {}


def now(fn):
    NOW[fn.__name__.rstrip("_")] = fn
    return fn


def run_block(world, frame, body):
    for st in body:
        if world.exhausted():
            return
        count_step(world, st)
        NOW[st["k"]](world, frame, st)


def count_step(world, st):
    executed = world.stats.setdefault(st["k"], [0, 0])
    executed[0] += 1


def callback(world, frame, st, name="cb"):
    inner = Frame(frame.label + "'")

    def run(*_):
        world.log(inner, st, name)
        run_block(world, inner, st["body"])
    return run


def seconds(ms):
    return None if ms is None else ms / 1000


def status_of(future):
    if not future.done():
        return "pending"
    if future.cancelled():
        return "cancelled"
    if future.exception() is not None:
        return f"failed {show_error(future.exception())}"
    return f"result {show(future.result())}"


def is_plain(future):
    return not isinstance(future, asyncio.Task)


def with_slot(fn):
    """For statements about a task or a future that may not be there."""
    @functools.wraps(fn)
    def checked(world, frame, st):
        future = world.slots.get(st["s"])
        if future is None:
            world.log(frame, st, f"no {st['s']}")
        else:
            fn(world, frame, st, future)
    return checked


def with_task(fn):
    @functools.wraps(fn)
    @with_slot
    def checked(world, frame, st, future):
        if is_plain(future):
            world.log(frame, st, "no task")
        else:
            fn(world, frame, st, future)
    return checked


def with_future(fn):
    @functools.wraps(fn)
    @with_slot
    def checked(world, frame, st, future):
        if is_plain(future):
            fn(world, frame, st, future)
        else:
            world.log(frame, st, "no future")
    return checked


# --- the program itself

@now
def log(world, frame, st):
    world.log(frame, st, "log")


@now
def raise_(world, frame, st):
    world.log(frame, st, "raise")
    raise UserError(st["msg"])


@now
def raise_cancel(world, frame, st):
    world.log(frame, st, "raise cancel")
    raise asyncio.CancelledError(st["msg"])


@now
def count(world, frame, st):
    value = world.counters.get(st["c"], 0) + st["n"]
    world.counters[st["c"]] = value
    world.log(frame, st, f"{st['c']}={value}")


@now
def gc(world, frame, st):
    """A full collection in Lua; the oracle has nothing to prove here."""
    world.log(frame, st, "gc")


@now
def stop(world, frame, st):
    world.log(frame, st, "stop")
    world.loop.stop()


# --- tasks and futures

def current_task():
    return asyncio.current_task()


def start(world, fname):
    """The coroutine of a function, and who works for whom."""
    return world.interp.function(fname, current_task())


@now
def spawn(world, frame, st):
    task = world.loop.create_task(start(world, st["f"]))
    world.keep.append(task)
    world.slots[st["s"]] = task
    world.log(frame, st, "spawned")


@now
def gspawn(world, frame, st):
    group = world.groups.get(st["g"])
    if group is None:
        world.log(frame, st, f"no {st['g']}")
        return
    coro = start(world, st["f"])
    try:
        task = group.create_task(coro)
    except RuntimeError:
        coro.close()
        world.log(frame, st, "group refuses")
        return
    world.keep.append(task)
    world.slots[st["s"]] = task
    world.log(frame, st, "spawned")


@now
def newfut(world, frame, st):
    world.slots[st["s"]] = world.loop.create_future()
    world.keep.append(world.slots[st["s"]])
    world.log(frame, st, "future")


@now
@with_future
def setres(world, frame, st, future):
    world.attempt(frame, st, future.set_result, st["v"])


@now
@with_future
def setexc(world, frame, st, future):
    world.attempt(frame, st, future.set_exception, UserError(st["msg"]))


@now
@with_slot
def cancel(world, frame, st, future):
    if st["msg"] is None:
        world.log(frame, st, show(future.cancel()))
    else:
        world.log(frame, st, show(future.cancel(st["msg"])))


@now
@with_task
def uncancel(world, frame, st, task):
    world.log(frame, st, show(task.uncancel()))


@now
@with_task
def cancelling(world, frame, st, task):
    world.log(frame, st, show(task.cancelling()))


@now
@with_slot
def status(world, frame, st, future):
    world.log(frame, st, status_of(future))


@now
@with_slot
def addcb(world, frame, st, future):
    inner = Frame(frame.label + "'")

    def run(done):
        world.log(inner, st, f"done {status_of(done)}")
        run_block(world, inner, st["body"])
    world.callbacks[st["cb"]] = run
    future.add_done_callback(run)
    world.log(frame, st, "added")


@now
@with_slot
def rmcb(world, frame, st, future):
    run = world.callbacks.get(st["cb"])
    if run is None:
        world.log(frame, st, f"no {st['cb']}")
    else:
        world.log(frame, st, show(future.remove_done_callback(run)))


@now
def alltasks(world, frame, st):
    world.log(frame, st, f"tasks {len(asyncio.all_tasks())}")


# --- callbacks

@now
def soon(world, frame, st):
    world.handles[st["h"]] = world.loop.call_soon(callback(world, frame, st))
    world.log(frame, st, "soon")


@now
def later(world, frame, st):
    world.handles[st["h"]] = world.loop.call_later(
        seconds(st["d"]), callback(world, frame, st))
    world.log(frame, st, "later")


@now
def at(world, frame, st):
    world.handles[st["h"]] = world.loop.call_at(
        world.loop.time() + seconds(st["d"]), callback(world, frame, st))
    world.log(frame, st, "at")


@now
def chain(world, frame, st):
    """A ruler for turns: n callbacks, each of which schedules the next."""
    inner = Frame(frame.label + "'")

    def hop(left):
        if world.exhausted():
            return
        world.log(inner, st, f"hop {left}")
        if left > 1:
            world.loop.call_soon(hop, left - 1)
        else:
            run_block(world, inner, st["body"])
    world.loop.call_soon(hop, st["n"])


@now
def hcancel(world, frame, st):
    handle = world.handles.get(st["h"])
    if handle is None:
        world.log(frame, st, f"no {st['h']}")
        return
    handle.cancel()
    world.log(frame, st, show(handle.cancelled()))


@now
def hinfo(world, frame, st):
    handle = world.handles.get(st["h"])
    if handle is None:
        world.log(frame, st, f"no {st['h']}")
        return
    text = show(handle.cancelled())
    if isinstance(handle, asyncio.TimerHandle):
        text += f" {handle.when() * 1000:.0f}"
    world.log(frame, st, text)


# --- groups and timeouts are used from outside by these

@now
def resched(world, frame, st):
    scope = world.timeouts.get(st["x"])
    if scope is None:
        world.log(frame, st, f"no {st['x']}")
        return
    when = None if st["d"] is None else world.loop.time() + seconds(st["d"])
    world.attempt(frame, st, scope.reschedule, when)


@now
def xinfo(world, frame, st):
    scope = world.timeouts.get(st["x"])
    if scope is None:
        world.log(frame, st, f"no {st['x']}")
        return
    when = scope.when()
    text = "nil" if when is None else f"{when * 1000:.0f}"
    world.log(frame, st, f"{text} {show(scope.expired())}")


# --- context variables

@now
def cvget(world, frame, st):
    world.log(frame, st, f"{st['v']}={show(world.vars[st['v']].get())}")


@now
def cvset(world, frame, st):
    world.vars[st["v"]].set(st["val"])
    world.log(frame, st, "set")


# --- what locks and queues do without waiting

@now
def release(world, frame, st):
    world.attempt(frame, st, world.objects[st["o"]].release)


@now
def locked(world, frame, st):
    world.log(frame, st, show(world.objects[st["o"]].locked()))


@now
def eset(world, frame, st):
    world.objects[st["o"]].set()
    world.log(frame, st, "set")


@now
def eclear(world, frame, st):
    world.objects[st["o"]].clear()
    world.log(frame, st, "clear")


@now
def einfo(world, frame, st):
    world.log(frame, st, show(world.objects[st["o"]].is_set()))


@now
def notify(world, frame, st):
    cond = world.objects[st["o"]]
    if st["n"] == "all":
        world.attempt(frame, st, cond.notify_all)
    else:
        world.attempt(frame, st, cond.notify, st["n"])


@now
def binfo(world, frame, st):
    barrier = world.objects[st["o"]]
    world.log(frame, st, f"{barrier.n_waiting} {show(barrier.broken)}")


@now
def putn(world, frame, st):
    world.attempt(frame, st, world.objects[st["o"]].put_nowait, st["v"])


@now
def getn(world, frame, st):
    world.attempt(frame, st, world.objects[st["o"]].get_nowait)


@now
def tdone(world, frame, st):
    world.attempt(frame, st, world.objects[st["o"]].task_done)


@now
def qinfo(world, frame, st):
    queue = world.objects[st["o"]]
    world.log(frame, st, f"{queue.qsize()} {show(queue.empty())} {show(queue.full())}")


@now
def qshut(world, frame, st):
    world.attempt(frame, st, world.objects[st["o"]].shutdown, st["now"])
