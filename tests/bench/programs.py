"""Runs one program of a workload once, and says what it measured."""

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests/bench"
BUILD = Path(os.environ.get("BUILD", ROOT / "build")).resolve()
LUA = "lua5.4"
PYTHON = "/usr/bin/python3"  # Debian's, which has uvloop
CORE = max(os.sched_getaffinity(0))
TIMEOUT_S = 120

COMMANDS = {  # peer: the command, the file's name
    "loophost": ([str(BUILD / "loophost")], "loophost.lua"),
    "luv": ([LUA], "luv.lua"),
    "cqueues": ([LUA], "cqueues.lua"),
    "tarantool": (["tarantool"], "tarantool.lua"),
    "asyncio": ([PYTHON], "python.py"),
    "uvloop": ([PYTHON], "python.py"),
    "node": (["node"], "node.js"),
}
PRESENT = {  # a command that succeeds if the peer is there, and says its version
    "luv": [LUA, "-e", "print(require 'luv'.version_string())"],
    "cqueues": [LUA, "-e", "print(require 'cqueues'.VERSION)"],
    "tarantool": ["tarantool", "--version"],
    "asyncio": [PYTHON, "-c", "import sys; print('Python', sys.version.split()[0])"],
    "uvloop": [PYTHON, "-c", "import uvloop; print(uvloop.__version__)"],
    "node": ["node", "--version"],
}


class Failed(Exception):
    """The program could not be run, or did not say what it measured."""


def versions():
    """The peers that are there, with the version each says it has."""
    found = {}
    for peer, command in PRESENT.items():
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except OSError:
            continue
        if answer.returncode == 0:
            found[peer] = answer.stdout.strip().splitlines()[0]
    return found


def command_of(row, who):
    """The command of `who` ("limit" or a peer) in the row, or None if there is none."""
    if who == "limit":
        if row.limit.endswith(".lua"):
            return [*COMMANDS["loophost"][0], f"tests/bench/{row.limit}"]
        program = BUILD / "tests/bench" / (row.limit or row.folder) / "limit"
        return [str(program)] if program.exists() else None
    command, name = COMMANDS[who]
    if who != "loophost" and not (BENCH / row.folder / name).exists():
        return None
    return [*command, f"tests/bench/{row.folder}/{name}"]


def environment(who):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LUA_", "PYTHON", "NODE_"))}
    return {**clean, "PEER": who, "LC_ALL": "C", "LUA_PATH": "tests/bench/?.lua;;",
            "PYTHONPATH": str(BENCH), "PYTHONDONTWRITEBYTECODE": "1", "UV_USE_IO_URING": "0"}


def prepare():
    """In the child: one core, and as many descriptors as there may be."""
    os.sched_setaffinity(0, {CORE})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_descriptors():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def values(text):
    """The numbers of the last line that has name=value."""
    for line in reversed(text.splitlines()):
        found = {k: float(v) for k, v in re.findall(r"(\w+)=([-+.\deE]+)", line)}
        if found:
            return found
    raise Failed(f"no result in {text[-200:]!r}")


def finish(command, who):
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment(who), preexec_fn=prepare,
                              capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from error
    if done.returncode != 0:
        raise Failed((done.stderr or f"exit status {done.returncode}").strip()[-300:])
    return values(done.stdout)


def run_program(row, who, ops, size):
    """A program that measures itself: per operation, in ns of CPU time or in bytes."""
    command = [*command_of(row, who), str(ops), str(size)]
    if row.folder == "descriptors":
        command = [str(BUILD / "tests/bench/descriptors_open"), str(size), *command]
    found = finish(command, who)
    scale = row.limit_scale if who == "limit" else 1
    measured = {k: v for k, v in found.items() if k in ("early", "late_ns")}
    if "cpu_ns" in found:
        measured["ns"] = found["cpu_ns"] / found["ops"] * scale
        measured["seconds"] = found["cpu_ns"] / 1e9
    if "bytes" in found:
        measured["bytes"] = found["bytes"] / found["ops"]
    return measured


class Server:
    """A server under way: with its port, and what /proc says of it."""

    def __init__(self, row, who):
        self.process = subprocess.Popen(
            command_of(row, who), cwd=ROOT, env=environment(who), preexec_fn=prepare, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = None
        for line in self.process.stdout:
            if match := re.match(r"port=(\d+)", line):
                self.port = match[1]
                break

    def __enter__(self):
        if not self.port:
            self.__exit__()
            raise Failed("the server did not start")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def cpu_ns(self):
        return sum(int(path.read_text().split()[0])
                   for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"))

    def resident(self):
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


LOAD = str(BUILD / "tests/bench/load")


def run_server(row, who, seconds, size):
    """A server under load on the same core: its CPU time a request, and requests a second."""
    with Server(row, who) as server:
        before = server.cpu_ns()
        found = finish([LOAD, server.port, str(size), str(row.message), str(int(seconds * 1000))],
                       "load")
        return {"ns": (server.cpu_ns() - before) / found["requests"],
                "requests": found["requests"] / found["wall_ns"] * 1e9}


def run_idle(row, who, size):
    """What a connection that says nothing takes of the server's memory."""
    size = min(size, most_descriptors() - 100)
    with Server(row, who) as server:
        before, fds = server.resident(), server.descriptors()
        load = subprocess.Popen([LOAD, server.port, str(size)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, preexec_fn=prepare)
        try:
            load.stdout.readline()
            ends = time.monotonic() + 60
            while server.descriptors() < fds + size:
                if time.monotonic() > ends or server.process.poll() is not None:
                    raise Failed("the server did not accept all connections")
                time.sleep(0.02)
            time.sleep(0.1)  # the last handlers start
            return {"bytes": (server.resident() - before) / size}
        finally:
            load.stdin.close()
            load.wait()
            load.stdout.close()


EMPTY = {"limit": [LUA, "/dev/null"], "loophost": [str(BUILD / "loophost"), "/dev/null"],
         "tarantool": ["tarantool", "/dev/null"], "asyncio": [PYTHON, "/dev/null"],
         "node": ["node", "/dev/null"]}


def run_start(who, ops):
    """Starts that are waited for, one after another: wall time of one, and most memory."""
    found = finish([str(BUILD / "tests/bench/start_many"), str(ops), *EMPTY[who]], who)
    return {"ns": found["wall_ns"] / found["ops"], "kib": found["kib"],
            "seconds": found["wall_ns"] / 1e9}


def participants(row, peers):
    """Who takes part in the row: the limit, loophost, and the peers that have a program."""
    if row.kind == "start":
        return [who for who in EMPTY if who in ("limit", "loophost") or row.peers and who in peers]
    names = ["limit", "loophost", *(peers if row.peers else [])]
    return [who for who in names if command_of(row, who)]


def run(row, who, ops, size, seconds):
    """Once; `ops` operations, or for servers as many as the seconds allow."""
    if row.folder == "descriptors":
        size = min(size, most_descriptors() - 100)
    if row.kind == "server":
        return run_server(row, who, seconds, size)
    if row.kind == "idle":
        return run_idle(row, who, size)
    if row.kind == "start":
        return run_start(who, ops)
    return run_program(row, who, ops, size)


if __name__ == "__main__":
    sys.exit("run tests/bench/run")
