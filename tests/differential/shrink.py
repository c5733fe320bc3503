"""Makes a failing program small, by deleting and simplifying while it fails.

Every round makes all the programs that are one edit smaller, runs them as one
batch on both sides, and goes on from the first (the smallest edits come last)
that still fails.
"""

import copy

from generate import BODIES, walk

BATCH = 48
ROUNDS = 400


def bodies_of(program):
    """Every list of statements, with the fields that hold it."""
    for func in program["funcs"].values():
        yield func["body"]
        for st in walk(func["body"]):
            for field in BODIES:
                if st.get(field) is not None:
                    yield st[field]


def called(program):
    """The functions that the mains can reach."""
    seen = list(program["mains"])
    for name in seen:
        for st in walk(program["funcs"][name]["body"]):
            names = [st.get("f")] + [item.get("f") for item in st.get("items", [])]
            names.append(st.get("item", {}).get("f"))
            seen += [each for each in names if each is not None and each not in seen]
    return seen


def tidy(program):
    """Without what nobody uses."""
    reachable = called(program)
    program["funcs"] = {name: func for name, func in program["funcs"].items()
                        if name in reachable}
    used = {st.get("o") for body in bodies_of(program) for st in body}
    used |= {spec.get("lock") for spec in program["objects"] if spec["o"] in used}
    program["objects"] = [spec for spec in program["objects"] if spec["o"] in used]
    return program


def cuts(length):
    """Slices to delete: all, halves, quarters, ... single ones."""
    size = length
    while size >= 1:
        for start in range(0, length, size):
            yield start, min(start + size, length)
        size //= 2


def edit_body(body):
    """Functions that change a copy of one body."""
    for start, end in cuts(len(body)):
        yield lambda copied, start=start, end=end: copied.__delitem__(slice(start, end))
    for place, st in enumerate(body):
        for field in BODIES:
            if st.get(field):
                yield lambda copied, place=place, field=field: copied.__setitem__(
                    slice(place, place + 1), copied[place][field])


SIMPLER = {
    "finally": [None], "on": [None], "then": ["swallow"], "msg": [None], "form": [0],
    "bare": [False], "at": [False], "re": [False], "n": [1], "d": [None, 0, 125], "s": ["S0"],
    "x": ["X0"], "g": ["G0"], "h": ["H0"], "mode": ["ALL_COMPLETED"], "each": [False],
}
MAY_BE_NONE = {"wait", "ascomp", "wait_for", "timeout", "resched"}


def edit_statement(st):
    """Functions that change a copy of one statement."""
    for field, values in SIMPLER.items():
        for value in values:
            if field == "d" and value is None and st["k"] not in MAY_BE_NONE:
                continue
            if field == "msg" and st["k"] != "cancel":
                continue
            if field == "on" and st.get("finally") is None:
                continue
            if field in st and st[field] not in values[:values.index(value) + 1]:
                yield lambda copied, field=field, value=value: copied.__setitem__(field, value)
    for place in range(len(st.get("items", []))):
        yield lambda copied, place=place: copied["items"].__delitem__(place)


def statements_of(program):
    return [st for func in program["funcs"].values() for st in walk(func["body"])]


def candidates(program):
    """All programs that are one edit smaller, the boldest first."""
    edits = []
    for number, body in enumerate(bodies_of(program)):
        for edit in edit_body(body):
            edits.append((bodies_of, number, edit))
    for number, st in enumerate(statements_of(program)):
        for edit in edit_statement(st):
            edits.append((statements_of, number, edit))
    for parts, number, edit in edits:
        smaller = copy.deepcopy(program)
        edit(list(parts(smaller))[number])
        yield tidy(smaller)
    for name, value in program["options"].items():
        if value:
            smaller = copy.deepcopy(program)
            smaller["options"][name] = False
            yield smaller
    for name, func in program["funcs"].items():
        if func["watch"]:
            smaller = copy.deepcopy(program)
            smaller["funcs"][name]["watch"] = False
            yield smaller
    if len(program["mains"]) > 1:
        smaller = copy.deepcopy(program)
        smaller["mains"] = smaller["mains"][:1]
        yield tidy(smaller)
    if program["entry"] != "loop":
        yield {**program, "entry": "loop"}


def first_failing(programs, failing):
    for start in range(0, len(programs), BATCH):
        batch = programs[start:start + BATCH]
        for program, fails in zip(batch, failing(batch)):
            if fails:
                return program
    return None


def shrink(program, failing):
    """failing(programs) says for each whether its two logs differ."""
    for _ in range(ROUNDS):
        smaller = first_failing(list(candidates(program)), failing)
        if smaller is None:
            break
        program = smaller
    return program
