"""Name servers of a test's own, at a free port of 127.0.0.1: a real one (dnsmasq) and those that behave
badly; and the host that asks them."""
import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from peers import ENV, LOOPHOST

PATIENCE = 120  # seconds for anything
IMPATIENT = "retrans:300 retry:2"  # c-ares's words: milliseconds, attempts
PATIENT = "retrans:1000 retry:30"

PRELUDE = """
local lh = require "loophost"
-- The addresses as text, or the failure.
local function text(list, message, code)
  if not list then return code .. " | " .. message end
  local words = {}
  for i, a in ipairs(list) do words[i] = ("%s %s %d"):format(a.family, a.address, a.port) end
  table.sort(words)
  return table.concat(words, ", ")
end
local function ask(...) print(text(lh.getaddrinfo(...))) end
local function descriptors()
  local n = 0
  for fd = 0, 1023 do
    local file = io.open("/proc/self/fdinfo/" .. fd)
    if file then
      n = n + 1
      file:close()
    end
  end
  return n
end
-- Waits until so many are open.
local function await_descriptors(n)
  local deadline = os.time() + 60
  while descriptors() ~= n do
    assert(os.time() < deadline, descriptors() .. " descriptors, not " .. n)
    lh.sleep(0.01)
  end
end
local function serve(address, port, opts)
  return assert(lh.start_server(function(stream)
    local _ <close> = stream
    stream:write(address, "\\n")
    stream:read "a"
  end, address, port or 0, opts))
end
"""


def host(script, *arguments, servers=None, options=PATIENT, flags=(), loop=True, fails=False):
    """What the script prints, asking those servers; on a loop that runs already, so that descriptors can be counted."""
    env = dict(ENV, RES_OPTIONS=options)
    if servers is not None:
        env["LOOPHOST_NAMESERVERS"] = servers
    done = subprocess.run([LOOPHOST, *flags, "-", *arguments], input=PRELUDE + "lh.sleep(0)\n" * loop + script, env=env, timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == int(fails), done.stdout
    return done.stdout


def free_port():
    """One that is free for both UDP and TCP."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname())
                return udp.getsockname()[1]


CONFIGURATION = """
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
no-poll
pid-file=
local=/test/
addn-hosts={folder}/names
cname=alias.test,both.test
txt-record=text.test,no address
min-port=1024
"""

NAMES = """
10.0.0.1 v4.test
fd00::6 v6.test
10.0.0.2 both.test
fd00::2 both.test
127.0.0.1 multi.test
127.0.0.2 multi.test
127.0.0.3 multi.test
::1 loop.test
127.0.0.1 loop.test
"""
MANY = [f"10.1.{i // 250}.{i % 250 + 1}" for i in range(300)]
CROWD = 1000


class Dnsmasq:
    """Runs until the block ends."""

    def __init__(self, folder):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = os.path.join(folder, "log")
        configuration = os.path.join(folder, "dnsmasq.conf")
        with open(configuration, "w") as file:
            file.write(CONFIGURATION.format(port=self.port, folder=folder))
        with open(os.path.join(folder, "names"), "w") as file:
            file.write(NAMES)
            for address in MANY:
                file.write(f"{address} many.test\n")
            for i in range(CROWD):
                file.write(f"10.2.{i // 250}.{i % 250 + 1} n{i}.test\n")
        with open(self.log, "w") as log:
            command = ["dnsmasq", "--keep-in-foreground", "--conf-file=" + configuration]
            if os.getuid() == 0:
                command.append("--user=root")  # others may not be let into the folder
            self.process = subprocess.Popen(command, env=ENV, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        self.wait()

    def wait(self):
        end = time.monotonic() + PATIENCE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.log) as log:
                    raise AssertionError(f"dnsmasq does not answer: {log.read()}")
            time.sleep(0.01)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        self.process.wait()


class Badly:
    """A UDP socket to which queries go; behave(self, query, sender) does what it does with each."""

    def __init__(self, behave=None):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.behave = behave
        self.ending = False
        if behave:
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                query, sender = self.socket.recvfrom(4096)
                if self.ending:
                    return
                self.behave(self, query, sender)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending = True
        if self.behave:
            with socket.socket(type=socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", self.socket.getsockname())
            self.thread.join(PATIENCE)
        self.socket.close()


def question(query):
    """The bytes of the question, and its type."""
    end = query.index(b"\0", 12) + 5
    return query[12:end], struct.unpack("!H", query[end - 4:end - 2])[0]


def answer(query, addresses):
    """A reply with those IPv4 addresses; to other questions one without data."""
    text, kind = question(query)
    addresses = addresses if kind == 1 else []
    records = b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(a) for a in addresses)
    return query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(addresses), 0, 0) + text + records
