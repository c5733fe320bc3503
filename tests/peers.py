"""What tests against real programs need: servers that end with the test."""
import os
import signal
import socket
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOOPHOST = os.path.abspath(os.environ.get("LOOPHOST", os.path.join(ROOT, "build", "loophost")))
ENV = {"PATH": os.environ["PATH"] + ":/usr/sbin", "LC_ALL": "C"}
PATIENCE = 60  # seconds for anything


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A program that runs until the block ends, in a session of its own."""

    def __init__(self, command, address, folder):
        self.log = os.path.join(folder, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=ENV, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        self.wait_for(address)

    def wait_for(self, address):
        """Until it answers there."""
        end = time.monotonic() + PATIENCE
        while True:
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            with socket.socket(family) as probe:
                if probe.connect_ex(address) == 0:
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.log) as log:
                    raise AssertionError(f"{self.process.args[0]} does not answer: {log.read()}")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def script(folder, code, *arguments):
    """The command that runs the code in the host."""
    path = os.path.join(folder, "script.lua")
    with open(path, "w") as file:
        file.write(code)
    return [LOOPHOST, path, *arguments]
