"""What tests of `loophost test` need: specs that are written, run, and held against what they
should say."""
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading

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


def equal(got, expected):
    assert got == expected, f"expected:\n{expected}\ngot:\n{got}"


def contains(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in:\n{text}"


def fails(folder, code, message, *options):
    """One test, which fails with this message."""
    out, status = said(folder, code, *options)
    head, _, text = out.partition("\n\n")
    equal(head, "-\n0 successes / 1 failure / 0 errors / 0 pending")
    equal(text.split("\n", 2)[2].rstrip("\n"), message)
    assert status != 0


def main(names, where):
    """Runs the functions among the names that begin with test_, each in a folder of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may come to us ignored
    passed = failed = 0
    only = os.environ.get("ONLY", "")
    for name, test in names.items():
        if not name.startswith("test_") or only not in name + where:
            continue
        folder = tempfile.mkdtemp()
        try:
            test(folder)
            passed += 1
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED {name}: {error}")
        finally:
            shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return failed > 0
