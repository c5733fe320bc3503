"""Random programs, run by CPython's asyncio and by loophost: equal logs?

    run.py --count 1000 --seed 0        programs 0 .. 999
    run.py --one 17 --shrink            one of them, made small if the logs differ
    run.py --file PROGRAM.json --print  one in a file, with both logs
    run.py --fixed                      the corpus of former failures
    run.py --mutants --fixed            would these faults of asyncio be seen?
"""

import sys
sys.dont_write_bytecode = True

import argparse
import concurrent.futures
import glob
import json
import os
import time

from generate import generate
from mutants import MUTANTS
from pretty import logs_text, program_text
from shrink import shrink
from sides import HERE, loophost_side, python_side

BATCH = 250
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))


class Comparison:
    """Two sides, and what they made of the programs so far."""

    def __init__(self, expected, actual):
        self.expected = expected
        self.actual = actual

    def logs(self, programs):
        return list(zip(self.expected.run(programs), self.actual.run(programs)))

    def differing(self, programs):
        return [expected != actual for expected, actual in self.logs(programs)]

    def batches(self, programs, jobs):
        """(program, expected, actual) for each, several batches at a time."""
        parts = [programs[start:start + BATCH] for start in range(0, len(programs), BATCH)]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for part, logs in zip(parts, pool.map(self.logs, parts)):
                for program, (expected, actual) in zip(part, logs):
                    yield program, expected, actual


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def corpus():
    return sorted(glob.glob(os.path.join(HERE, "corpus", "*.json")))


def report(program, expected, actual, title):
    print(f"--- {title}")
    print(program_text(program))
    print(logs_text(expected, actual))
    print(flush=True)


def print_stats(stats, count):
    print(f"{count} programs; statements executed, and how many of them took a turn or more:")
    for kind in sorted(stats):
        executed, waited = stats[kind]
        print(f"  {kind:<14} {executed:>8} {waited or '':>8}")


def compare(comparison, named, options):
    """Run all, print the failures; how many passed and failed."""
    passed, failed = 0, 0
    names = iter([name for name, _ in named])
    programs = [program for _, program in named]
    for program, expected, actual in comparison.batches(programs, options.jobs):
        name = next(names)
        if expected == actual:
            passed += 1
            if options.print:
                report(program, expected, actual, f"{name} agrees")
            continue
        failed += 1
        if failed > options.show:
            continue
        if options.shrink:
            program = shrink(program, comparison.differing)
            (expected, actual), = comparison.logs([program])
        report(program, expected, actual, f"{name} differs")
        if options.save:
            save(options.save, name, program)
    if failed > options.show:
        print(f"... and {failed - options.show} more")
    return passed, failed


def save(folder, name, program):
    path = os.path.join(folder, f"{name.replace(' ', '-')}.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(program, file)
        file.write("\n")


def run_mutants(programs):
    """Each mutant of the oracle against the oracle itself."""
    passed, failed = 0, 0
    for name in MUTANTS:
        comparison = Comparison(python_side(), python_side(name))
        seen = sum(comparison.differing(programs))
        print(f"{name:<44} seen by {seen:>4} of {len(programs)} programs", flush=True)
        passed, failed = passed + (seen > 0), failed + (seen == 0)
    return passed, failed


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=0, help="how many random programs")
    parser.add_argument("--seed", type=int, default=0, help="the first program's seed")
    parser.add_argument("--one", type=int, metavar="SEED", help="only this program")
    parser.add_argument("--file", help="only the program in this file")
    parser.add_argument("--fixed", action="store_true", help="the corpus as well")
    parser.add_argument("--mutants", action="store_true", help="test the test")
    parser.add_argument("--strict", action="store_true",
                        help="CPython 3.11.2 with its faults (see oracle_later.py)")
    parser.add_argument("--mutant", metavar="NAME", help="in place of loophost")
    parser.add_argument("--shrink", action="store_true", help="make failures small")
    parser.add_argument("--save", metavar="DIR", help="keep failures as files here")
    parser.add_argument("--print", action="store_true", help="programs that agree, too")
    parser.add_argument("--show", type=int, default=5, help="how many failures to print")
    parser.add_argument("--stats", action="store_true", help="what the programs did")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--loophost", metavar="PATH",
                        default=os.environ.get("LOOPHOST", os.path.join(ROOT, "build", "loophost")))
    return parser.parse_args()


def chosen(options):
    """(name, program) pairs."""
    named = []
    if options.file:
        named.append((os.path.basename(options.file), load(options.file)))
    if options.one is not None:
        named.append((f"seed {options.one}", generate(options.one)))
    if options.fixed:
        named += [(os.path.basename(path), load(path)) for path in corpus()]
    named += [(f"seed {seed}", generate(seed))
              for seed in range(options.seed, options.seed + options.count)]
    return named


def main():
    options = parse_arguments()
    start = time.monotonic()
    named = chosen(options)
    actual = python_side(options.mutant) if options.mutant else loophost_side(options.loophost)
    comparison = Comparison(python_side(strict=options.strict), actual)
    if options.mutants:
        passed, failed = run_mutants([program for _, program in named])
    elif not options.mutant and not os.access(options.loophost, os.X_OK):
        sys.exit(f"no loophost at {options.loophost}: build it, or say --loophost PATH")
    else:
        passed, failed = compare(comparison, named, options)
        if options.stats:
            print_stats(comparison.expected.stats, len(named))
            print(f"{time.monotonic() - start:.1f} s")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
