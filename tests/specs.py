"""What tests of `loophost test` need: specs that are written, run, and held against what they
should say."""
import os
import re
import shutil
import subprocess
import threading

from checks import equal

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOOPHOST = os.path.abspath(os.environ.get("LOOPHOST", os.path.join(ROOT, "build", "loophost")))
BUSTED = shutil.which("busted")
ENV = {"PATH": os.environ["PATH"], "TERM": "dumb", "LC_ALL": "C", "HOME": "/nonexistent"}
HEAD = 'local lh = require "loophost"; local testing = require "loophost.testing"\n'


def run(*command, folder, **env):
    """(stdout and stderr, status) of the command."""
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**ENV, **env})
    return done.stdout, done.returncode


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def said(folder, code, *options, **env):
    """What `loophost test` prints of a spec with this code, whose first line is line 2, without
    the time that it took."""
    write(folder, "x_spec.lua", HEAD + code)
    out, status = run(LOOPHOST, "test", "-o", "plainTerminal", *options, "x_spec.lua",
                      folder=folder, **env)
    return re.sub(r" : [0-9.]+ seconds", "", out), status


def wait_for(child, text):
    """Reads lines of the child's until one has the text; one that keeps us waiting is killed."""
    patience = threading.Timer(60, child.kill)
    patience.start()
    try:
        for line in child.stdout:
            if text in line:
                return
        raise AssertionError(f"{text!r} did not come")
    finally:
        patience.cancel()


def fails(folder, code, message, *options):
    """One test, which fails with this message."""
    out, status = said(folder, code, *options)
    head, _, text = out.partition("\n\n")
    equal(head, "-\n0 successes / 1 failure / 0 errors / 0 pending")
    equal(text.split("\n", 2)[2].rstrip("\n"), message)
    assert status != 0
