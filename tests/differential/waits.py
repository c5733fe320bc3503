"""The statements that may wait, on the Python side, and how a program runs.

A statement's function answers None to go on, or a tuple of one value: the
function of the program returns it. waits.lua is the same in Lua.
"""

import asyncio

import oracle
from now import NOW, count_step, seconds
from world import Frame, UserError, show, show_error

WAITS = {}


def waits(fn):
    WAITS[fn.__name__.rstrip("_")] = fn
    return fn


class Interp:
    def __init__(self, world):
        self.world = world
        world.interp = self

    async def function(self, name, parent):
        """A function of the program, as the body of a task or in place."""
        world = self.world
        world.frames += 1
        frame = Frame(str(world.frames), world.frames, asyncio.current_task())
        world.adopt(parent, frame.task)
        function = world.program["funcs"][name]
        world.say(f"{frame.label} begin {name}")
        if not function["watch"]:
            signal = await self.block(frame, function["body"])
        else:
            try:
                signal = await self.block(frame, function["body"])
            except BaseException as error:
                world.say(f"{frame.label} fails {show_error(error)}")
                raise
        world.say(f"{frame.label} ends {frame.task.cancelling()}")
        return signal[0] if signal else frame.number

    async def block(self, frame, body):
        for st in body:
            if self.world.exhausted():
                return (-1,)
            count_step(self.world, st)
            self.world.waiting(frame, [])
            if st["k"] in NOW:
                NOW[st["k"]](self.world, frame, st)
                continue
            signal = await self.counted(frame, st)
            if signal is not None:
                return signal
        return None

    async def counted(self, frame, st):
        turn = self.world.loop.turn
        try:
            return await WAITS[st["k"]](self, self.world, frame, st)
        finally:
            if self.world.loop.turn > turn:
                self.world.stats[st["k"]][1] += 1


# --- control

@waits
async def ret(interp, world, frame, st):
    return (st["v"],)


@waits
async def loop(interp, world, frame, st):
    for _ in range(st["n"]):
        signal = await interp.block(frame, st["body"])
        if signal is not None:
            return signal


@waits
async def gen(interp, world, frame, st):
    """In Lua the body runs inside a coroutine of the script's own."""
    for number, each in enumerate(st["body"], 1):
        await interp.block(frame, [each])
        world.log(frame, st, f"item {number}")


CATCHES = {
    "error": Exception,
    "cancel": asyncio.CancelledError,
    "all": BaseException,
}


@waits
async def try_(interp, world, frame, st):
    if st["finally"] is None:
        return await try_except(interp, world, frame, st)
    try:
        return await try_except(interp, world, frame, st)
    finally:
        world.log(frame, st, "finally")
        await interp.block(frame, st["finally"])


async def try_except(interp, world, frame, st):
    if st["on"] is None:
        return await interp.block(frame, st["body"])
    try:
        return await interp.block(frame, st["body"])
    except GeneratorExit:
        raise
    except CATCHES[st["on"]] as error:
        world.log(frame, st, f"caught {show_error(error)} {frame.task.cancelling()}")
        if st["then"] == "uncancel":
            world.log(frame, st, f"uncancel {frame.task.uncancel()}")
        signal = await interp.block(frame, st["handler"])
        if st["then"] == "reraise":
            raise
        return signal


# --- sleeps and calls

@waits
async def sleep(interp, world, frame, st):
    result = await asyncio.sleep(seconds(st["d"]), st["i"] if st["form"] in (0, 3) else None)
    world.log(frame, st, f"slept {show(result)}")


@waits
async def yield_(interp, world, frame, st):
    await asyncio.sleep(0)
    world.log(frame, st, "yielded")


@waits
async def call(interp, world, frame, st):
    result = await interp.function(st["f"], frame.task)
    world.log(frame, st, show(result))


# --- waits for tasks and futures

def coroutine_of(interp, frame, name):
    return interp.function(name, frame.task)


def futures_of(world, frame, st):
    """The futures among a statement's items."""
    found = {item["s"]: world.target(frame, st, item["s"])
             for item in st["items"] if "s" in item}
    return {slot: future for slot, future in found.items() if future is not None}


@waits
async def await_(interp, world, frame, st):
    future = world.target(frame, st, st["s"])
    if future is None:
        return
    world.waiting(frame, [future])
    result = await future
    world.log(frame, st, show(result))


@waits
async def wait_for(interp, world, frame, st):
    if "f" in st["item"]:
        coro = coroutine_of(interp, frame, st["item"]["f"])
        result = await oracle.wait_for(coro, seconds(st["d"]))
    else:
        future = world.target(frame, st, st["item"]["s"])
        if future is None:
            return
        world.waiting(frame, [future])
        result = await oracle.wait_for(future, seconds(st["d"]))
    world.log(frame, st, show(result))


@waits
async def shield(interp, world, frame, st):
    if "f" in st["item"]:
        future = world.loop.create_task(coroutine_of(interp, frame, st["item"]["f"]))
        world.keep.append(future)
        world.slots[st["s"]] = future
    else:
        future = world.target(frame, st, st["item"]["s"])
        if future is None:
            return
    world.waiting(frame, [future])
    result = await asyncio.shield(future)
    world.log(frame, st, show(result))


@waits
async def gather(interp, world, frame, st):
    known = futures_of(world, frame, st)
    items = []
    for item in st["items"]:
        if "f" in item:
            items.append(coroutine_of(interp, frame, item["f"]))
        elif item["s"] in known:
            items.append(known[item["s"]])
    world.waiting(frame, list(known.values()))
    results = await asyncio.gather(*items, return_exceptions=st["re"])
    world.log(frame, st, show(results))


def tasks_of(interp, world, frame, st):
    """A list of futures for wait and as_completed: functions are started."""
    known = futures_of(world, frame, st)
    items = []
    for item in st["items"]:
        if "f" in item:
            task = world.loop.create_task(coroutine_of(interp, frame, item["f"]))
            world.keep.append(task)
            items.append(task)
        elif item["s"] in known:
            items.append(known[item["s"]])
    return items


@waits
async def wait(interp, world, frame, st):
    items = tasks_of(interp, world, frame, st)
    if not items:
        world.log(frame, st, "nothing to wait for")
        return
    world.waiting(frame, items)
    done, pending = await oracle.wait(
        items, timeout=seconds(st["d"]), return_when=st["mode"])

    def places(some):
        return sorted(items.index(each) + 1 for each in some)
    world.log(frame, st, f"done {show(places(done))} pending {show(places(pending))}")


@waits
async def ascomp(interp, world, frame, st):
    items = tasks_of(interp, world, frame, st)
    left = st["n"]
    world.waiting(frame, items)
    for coro in oracle.as_completed(items, timeout=seconds(st["d"])):
        if st["each"]:
            try:
                text = show(await coro)
            except TimeoutError:
                world.log(frame, st, "timed out")
                break
            except Exception as error:
                text = show_error(error)
        else:
            text = show(await coro)
        world.log(frame, st, text)
        left -= 1
        if left == 0:
            break
    world.log(frame, st, "end")


# --- scopes

@waits
async def group(interp, world, frame, st):
    async with oracle.TaskGroup() as tg:
        world.groups[st["g"]] = tg
        signal = await interp.block(frame, st["body"])
        world.log(frame, st, "closing")
    world.log(frame, st, "closed")
    return signal


@waits
async def timeout(interp, world, frame, st):
    if st["at"]:
        scope = asyncio.timeout_at(world.loop.time() + seconds(st["d"]))
    else:
        scope = asyncio.timeout(seconds(st["d"]))
    async with scope:
        world.timeouts[st["x"]] = scope
        signal = await interp.block(frame, st["body"])
    world.log(frame, st, f"in time {show(scope.expired())}")
    return signal


@waits
async def cvwith(interp, world, frame, st):
    var = world.vars[st["v"]]
    token = var.set(st["val"])
    try:
        return await interp.block(frame, st["body"])
    finally:
        var.reset(token)
        world.log(frame, st, f"{st['v']}={show(var.get())}")


# --- locks, events, conditions, semaphores, barriers

@waits
async def with_(interp, world, frame, st):
    async with world.objects[st["o"]]:
        world.log(frame, st, "held")
        signal = await interp.block(frame, st["body"])
    world.log(frame, st, "released")
    return signal


@waits
async def acquire(interp, world, frame, st):
    await world.objects[st["o"]].acquire()
    world.log(frame, st, "acquired")


@waits
async def ewait(interp, world, frame, st):
    world.log(frame, st, show(await world.objects[st["o"]].wait()))


@waits
async def cwait(interp, world, frame, st):
    world.log(frame, st, show(await world.objects[st["o"]].wait()))


@waits
async def cwaitfor(interp, world, frame, st):
    def enough():
        return world.counters.get(st["c"], 0) >= st["n"]
    world.log(frame, st, show(await world.objects[st["o"]].wait_for(enough)))


@waits
async def bwait(interp, world, frame, st):
    world.log(frame, st, show(await world.objects[st["o"]].wait()))


@waits
async def breset(interp, world, frame, st):
    await world.objects[st["o"]].reset()
    world.log(frame, st, "reset")


@waits
async def babort(interp, world, frame, st):
    await world.objects[st["o"]].abort()
    world.log(frame, st, "aborted")


# --- queues

@waits
async def put(interp, world, frame, st):
    await world.objects[st["o"]].put(st["v"])
    world.log(frame, st, "put")


@waits
async def get(interp, world, frame, st):
    world.log(frame, st, show(await world.objects[st["o"]].get()))


@waits
async def join(interp, world, frame, st):
    await world.objects[st["o"]].join()
    world.log(frame, st, "joined")
