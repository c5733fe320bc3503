"""A program as pseudo-code, and where two logs part."""

HIDDEN = ("k", "i", "body", "handler", "finally", "on", "then")


def item_text(item):
    return f"{item['f']}()" if "f" in item else item["s"]


def value_text(value):
    if isinstance(value, dict):
        return item_text(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return str(value)


def head(st):
    fields = [f"{name}={value_text(value)}" for name, value in st.items() if name not in HIDDEN]
    return f"{st['i']}: {st['k']} {' '.join(fields)}".rstrip()


def block(body, depth):
    for st in body:
        yield "    " * depth + head(st)
        yield from block(st.get("body") or [], depth + 1)
        if st.get("on"):
            yield "    " * depth + f"except {st['on']} then {st['then']}"
            yield from block(st["handler"], depth + 1)
        if st.get("finally") is not None:
            yield "    " * depth + "finally"
            yield from block(st["finally"], depth + 1)


def program_text(program):
    lines = [f"# seed {program['seed']}, entry {program['entry']}, mains {program['mains']}"]
    on = [name for name, value in program["options"].items() if value]
    if on:
        lines.append(f"# options {' '.join(on)}")
    for spec in program["objects"]:
        lock = f", lock={spec['lock']}" if "lock" in spec else ""
        lines.append(f"{spec['o']} = {spec['kind']}(n={spec['n']}{lock})")
    for name, func in program["funcs"].items():
        lines.append(f"def {name}():{'  # watched' if func['watch'] else ''}")
        lines += block(func["body"], 1)
    return "\n".join(lines)


def logs_text(expected, actual, context=8):
    """The two logs side by side around the first line that differs."""
    first = 0
    while first < min(len(expected), len(actual)) and expected[first] == actual[first]:
        first += 1
    length = max(len(expected), len(actual))
    start = 0 if first == length else max(0, first - context)
    end = min(length, first + context)
    rows = []
    for place in range(start, end):
        left = expected[place] if place < len(expected) else ""
        right = actual[place] if place < len(actual) else ""
        mark = " " if left == right else "|"
        rows.append(f"{left:<48} {mark} {right}")
    return "\n".join([f"{'asyncio':<48}   loophost", *rows])
