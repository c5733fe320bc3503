"""The rows of the table: what is measured, with which arguments, and the goals.

A workload is a folder. Its programs are found by name: loophost.lua, limit.c, and for the
peers luv.lua, cqueues.lua, tarantool.lua, node.js and python.py (asyncio, uvloop).
"""

from dataclasses import dataclass


@dataclass
class Goal:
    """`how` compares `measure` with the limit of the same round, or as it is:

    ratio_at_most, ratio_at_least    loophost / limit
    at_most                          loophost
    excess_at_most                   loophost - limit
    ahead_of_asyncio                 asyncio / loophost, at least
    """
    measure: str
    how: str
    bound: float


def ratio(bound, measure="ns"):
    return Goal(measure, "ratio_at_most", bound)


@dataclass
class Row:
    name: str
    title: str
    folder: str
    limit_text: str
    goals: list
    kind: str = "program"      # program, server, idle, start
    size: int = 1              # tasks, timers, connections ...
    ops: int = 0               # a fixed number; 0: as many as take the time
    message: int = 0           # bytes, of servers
    limit: str = ""            # the limit's program, if not the folder's own
    limit_scale: float = 1     # operations of the limit in one of ours
    rounds: int = 0            # at most, where more would tell nothing new
    peers: bool = True
    peer_rounds: int = 0       # at most for the peers, where they take long
    unit: str = "ns"
    growth: tuple = ()         # sizes of the chart
    growth_x: str = "tasks"


SWITCH = "lua_resume of a coroutine that calls a yielding C function"
RESUMES = "two lua_resumes a hand-over"
HEAP = "a 4-ary heap, each timer allocated and freed"

ROWS = [
    Row("switch", "task switch, 1,000 tasks", "switch", SWITCH, [ratio(1.25)], size=1000,
        growth=(100, 1000, 10**4, 10**5, 10**6)),
    Row("switch-1", "task switch, 1 task", "switch", SWITCH, [ratio(1.25)], peers=False),
    Row("switch-10", "task switch, 10 tasks", "switch", SWITCH, [ratio(1.25)], size=10,
        peers=False),
    Row("switch-1e5", "task switch, 100,000 tasks", "switch", SWITCH, [ratio(1.25)],
        size=10**5, ops=10**7, peers=False),  # with fewer, tasks begin and end all the time
    Row("callsoon-chain", "call_soon, chain", "callsoon_chain",
        "lua_call on an anchored function", [ratio(3.5)]),
    Row("callsoon-kept", "call_soon, chain, its handle kept", "callsoon_kept",
        "lua_call on an anchored function", [ratio(3.5)], limit="callsoon_chain", peers=False),
    Row("callsoon-batch", "call_soon, batch of 100,000", "callsoon_batch",
        "anchor in a table, lua_call", [ratio(1.3)], size=10**5,
        growth=(100, 1000, 10**4, 10**5, 10**6), growth_x="callbacks in a batch"),
    Row("timer-create", "timers: create 10^6 and cancel", "timer_create", HEAP, [ratio(2.5)],
        size=10**6, ops=10**6, peer_rounds=2, growth=(100, 1000, 10**4, 10**5, 10**6),
        growth_x="timers at once"),
    Row("timer-cancel", "timers: set and cancel, 1,000 standing", "timer_cancel", HEAP,
        [ratio(8)], size=1000, growth=(100, 1000, 10**4, 10**5, 10**6),
        growth_x="other timers"),
    Row("sleepers", "100,000 sleeping tasks over 1 s", "sleepers", "heap and epoll_wait",
        [ratio(3.5), Goal("early", "at_most", 0), Goal("late_ns", "at_most", 1e6)],
        ops=10**5, peer_rounds=2, growth=(100, 1000, 10**4, 10**5, 10**6)),
    Row("spawn", "spawn a task and await it", "spawn_await", "lua_newthread and lua_resume",
        [ratio(1.4)]),
    Row("memory-1e5", "memory of a sleeping task, 10^5", "memory", "a suspended coroutine",
        [ratio(1.08, "bytes")], ops=10**5, rounds=3, peer_rounds=1, unit="B",
        growth=(100, 1000, 10**4, 10**5, 10**6)),
    Row("memory-1e6", "memory of a sleeping task, 10^6", "memory", "a suspended coroutine",
        [ratio(1.08, "bytes")], ops=10**6, rounds=1, unit="B", peers=False),
    Row("queue", "Queue put/get between two tasks", "queue", RESUMES,
        [ratio(2), Goal("ns", "ahead_of_asyncio", 5)], limit="switch", limit_scale=2, size=2),
    Row("lock", "Lock hand-over between two tasks", "lock", RESUMES,
        [ratio(2), Goal("ns", "ahead_of_asyncio", 5)], limit="switch", limit_scale=2, size=2),
    Row("event", "Event broadcast to 1,000", "event", RESUMES,
        [ratio(2), Goal("ns", "ahead_of_asyncio", 5)], limit="switch", limit_scale=2,
        size=1000, growth=(100, 1000, 10**4, 10**5), growth_x="waiting tasks"),
    Row("gather", "gather of 1,000 functions that wait once", "gather",
        "lua_newthread and two lua_resumes", [ratio(2), Goal("ns", "ahead_of_asyncio", 5)],
        size=1000, growth=(100, 1000, 10**4, 10**5), growth_x="functions"),
    Row("wait-for", "wait_for around a wait that completes", "timeout",
        "loophost: the wait without it", [ratio(1.6)], limit="timeout/plain.lua"),
    Row("timeout", "timeout around a wait that completes", "timeout_scope",
        "loophost: the wait without it", [ratio(1.6)], limit="timeout/plain.lua"),
    Row("echo-64", "TCP echo, 50 connections x 64 B", "echo", "epoll echo server",
        [ratio(1.05), Goal("requests", "ratio_at_least", 0.97)], kind="server", size=50,
        message=64, growth=(10, 100, 1000), growth_x="connections"),
    Row("echo-16k", "TCP echo, 50 connections x 16 KiB", "echo", "epoll echo server",
        [ratio(1.1), Goal("requests", "ratio_at_least", 0.92)], kind="server", size=50,
        message=16384),
    Row("lines", "readline + write, 50 connections", "lines", "a server that finds newlines",
        [ratio(1.4)], kind="server", size=50, message=64),
    Row("pingpong", "TCP ping-pong, one connection", "echo", "epoll echo server",
        [Goal("requests", "ratio_at_least", 0.98)], kind="server", size=1, message=64),
    Row("idle", "10,000 idle connections in readline", "idle", "-",
        [Goal("bytes", "at_most", 1500)], kind="idle", size=10**4, rounds=3, peer_rounds=1, unit="B"),
    Row("start", "start: an empty script", "start", "lua5.4",
        [ratio(1.15), Goal("kib", "excess_at_most", 600)], kind="start", ops=100),
    Row("descriptors", "turn with 10^5 descriptors, 1 active", "descriptors", "epoll_wait",
        [ratio(1.2)], size=10**5, growth=(100, 1000, 10**4, 10**5), growth_x="descriptors"),
    Row("descriptors-100", "turn with 100 descriptors, 1 active", "descriptors", "epoll_wait",
        [ratio(1.2)], size=100, peers=False),
]
