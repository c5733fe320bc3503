"""Runs a batch of programs on one side and gives back a log for each.

A process that dies or hangs costs only the program that it was at: its log
ends with the reason, and a new process goes on with the next one.
"""

import json
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Debian 12's: another 3.11 may differ in details, and they are the subject.
ORACLE = "/usr/bin/python3"

STATS_MARK = "=== stats "


class Side:
    """A command that takes a file of programs and the first one to run."""

    def __init__(self, command, environment=None, batch_seconds=20.0, program_seconds=0.1):
        self.command = command
        self.environment = {**os.environ, **(environment or {})}
        self.batch_seconds = batch_seconds
        self.program_seconds = program_seconds
        self.stats = {}

    def run(self, programs):
        """The logs of the programs, each a list of lines."""
        logs = []
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(programs, file)
            file.flush()
            while len(logs) < len(programs):
                logs += self.run_from(file.name, len(logs), len(programs))
        return logs

    def run_from(self, path, first, count):
        limit = self.batch_seconds + self.program_seconds * (count - first)
        process = subprocess.Popen(
            [*self.command, path, str(first)], env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace")
        try:
            output, complaint = process.communicate(timeout=limit)
            reason = f"process ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            process.kill()
            output, complaint = process.communicate()
            reason = "process hangs"
        logs, unfinished = self.split(output)
        if first + len(logs) < count:
            last_words = complaint.strip().splitlines()[-20:]
            logs.append((unfinished or []) + [reason] + last_words)
        return logs

    def split(self, output):
        """The complete logs in an output, and the lines of a cut-off one."""
        logs, current = [], None
        for line in output.splitlines():
            if line.startswith(STATS_MARK):
                self.add_stats(json.loads(line[len(STATS_MARK):]))
            elif line.startswith("=== begin "):
                current = []
            elif line.startswith("=== end ") and current is not None:
                logs.append(current)
                current = None
            elif current is not None:
                current.append(line)
        return logs, current

    def add_stats(self, stats):
        for kind, (executed, waited) in stats.items():
            before = self.stats.get(kind, (0, 0))
            self.stats[kind] = (before[0] + executed, before[1] + waited)


def python_side(mutant=None, strict=False):
    extra = ["--strict"] if strict else []
    extra += [] if mutant is None else ["--mutant", mutant]
    return Side([ORACLE, "-B", os.path.join(HERE, "interp.py"), *extra])


def loophost_side(path):
    return Side([path, os.path.join(HERE, "interp.lua")])
