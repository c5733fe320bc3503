"""The table of results, for the terminal and as Markdown."""

import os
import platform
import statistics
import subprocess

import programs

ORDER = ["luv", "cqueues", "tarantool", "node", "uvloop", "asyncio"]
HOW = {"ratio_at_most": "≤ {}×", "ratio_at_least": "≥ {}×", "at_most": "≤ {}",
       "excess_at_most": "≤ + {}", "ahead_of_asyncio": "≥ {}× asyncio"}
NAMES = {"ns": "CPU", "bytes": "memory", "late_ns": "mean lateness", "early": "early",
         "kib": "KiB", "requests": "requests/s"}


def number(value):
    """Three digits that count."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def amount(value, unit):
    if value is None:
        return "-"
    if unit == "ns" and value >= 1e6:
        return f"{number(value / 1e6)} ms"
    if unit == "ns" and value >= 1e4:
        return f"{number(value / 1e3)} µs"
    return f"{number(value)} {unit}"


def spread(values):
    return max(values) - min(values) if values else 0


def middle(values):
    return statistics.median(values) if values else None


def main_measure(result):
    return "bytes" if result.row.unit == "B" else "ns"


def goal_text(goal, row):
    bound = goal.bound
    if goal.measure == "late_ns":
        return "lateness ≤ 1 ms"
    text = HOW[goal.how].format(number(bound) if bound >= 100 else f"{bound:g}")
    if goal.measure == main_measure_of(row) and goal.how != "ratio_at_least":
        return text
    return f"{NAMES[goal.measure]} {text}"


def main_measure_of(row):
    return "bytes" if row.unit == "B" else "ns"


def goal_line(result, goal):
    """What was reached of the goal, and whether that is enough."""
    values, verdict = result.of_goal(goal), result.verdict(goal)
    if verdict is None:
        return goal_text(goal, result.row), "-", "not measured"
    reached = middle(values)
    if goal.measure == "late_ns":
        text = f"{reached / 1e6:.2f} ms"
    elif goal.how in ("at_most", "excess_at_most"):
        text = number(reached)
    else:
        text = f"{reached:.2f} ± {spread(values) / 2:.2f}"
    return goal_text(goal, result.row), text, verdict


def best_text(result):
    measure = main_measure(result)
    peer, value = result.best_peer(measure)
    own = result.value("loophost", measure)
    if not peer or not own:
        return "-"
    return f"{peer} {value / own:.2f}×"


def cells(result):
    measure, unit = main_measure(result), result.row.unit
    for i, goal in enumerate(result.row.goals):
        first = [result.row.title, amount(result.value("limit", measure), unit),
                 amount(result.value("loophost", measure), unit)] if i == 0 else ["", "", ""]
        yield [*first, *goal_line(result, goal), best_text(result) if i == 0 else ""]


HEAD = ["workload", "limit", "loophost", "goal", "reached", "", "best peer / loophost"]


def terminal(results):
    lines = [HEAD, *[line for result in results for line in cells(result)]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


def table(head, lines):
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def peers_table(results, peers):
    """Each peer's value as a multiple of the limit's; requests per second for servers."""
    columns = ["loophost", *[peer for peer in ORDER if peer in peers]]
    lines = []
    for result in results:
        for measure, name in ((main_measure(result), ""), ("requests", ", requests/s")):
            if not result.values("loophost", measure) or not result.row.peers:
                continue
            base = result.value("limit", measure)
            line = [result.row.title + name,
                    amount(base, "/s" if name else result.row.unit)]
            for who in columns:
                value = result.value(who, measure)
                if value is None:
                    line.append("failed" if who in result.failed else "")
                else:
                    line.append(f"{value / base:.2f}" if base else number(value))
            lines.append(line)
    return table(["workload", "limit", *columns], lines)


def first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=programs.ROOT)
    except OSError:
        return "?"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def processor():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def machine(peers):
    lines = [f"- {processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
             f"- loophost {first_line('git', 'describe', '--always', '--dirty')},"
             f" {first_line('gcc', '--version')}",
             f"- limit: {first_line('lua5.4', '-v')}, the static library"]
    lines += [f"- {peer}: {version}" for peer, version in sorted(peers.items())]
    return "\n".join(lines)


def markdown(results, peers, rounds):
    workloads = table(HEAD, [line for result in results for line in cells(result)])
    limits = "\n".join(f"- {r.row.title}: {r.row.limit_text}" for r in results)
    return f"""# Results of `make bench`

Medians of {rounds} rounds in which all programs of a row ran one after the other, on one core.
The limit is C without a loop (see below). A ratio is taken within a round; ± is half of its
range. CPU time an operation, or bytes; for `start` wall time.

{workloads}

## The peers, as multiples of the limit

{peers_table(results, peers)}

## The limits

{limits}

## The machine

{machine(peers)}
"""
