"""A chart of curves over sizes, both axes logarithmic, as SVG that suits light and dark pages."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 44, 48
LABEL_HEIGHT = 14

COLORS = {  # who: on light, on dark
    "limit": ("#57606a", "#9aa4af"), "loophost": ("#cf222e", "#ff7b72"),
    "luv": ("#0969da", "#58a6ff"), "cqueues": ("#1a7f37", "#56d364"),
    "tarantool": ("#9a6700", "#e3b341"), "node": ("#8250df", "#bc8cff"),
    "uvloop": ("#bf3989", "#ff9bce"), "asyncio": ("#0a7e8c", "#4ac6d4"),
}
NAMES = {"limit": "limit (C)"}


def style():
    light = "".join(f".{who}{{--c:{pair[0]}}}" for who, pair in COLORS.items())
    dark = "".join(f".{who}{{--c:{pair[1]}}}" for who, pair in COLORS.items())
    return (f"<style>svg{{--ink:#24292f;--faint:#d0d7de}}{light}"
            f"@media(prefers-color-scheme:dark){{svg{{--ink:#e6edf3;--faint:#3d444d}}{dark}}}"
            "text{font:12px system-ui,sans-serif;fill:var(--ink)}"
            ".title{font-size:15px;font-weight:600}.grid{stroke:var(--faint);stroke-width:1}"
            ".curve{fill:none;stroke:var(--c);stroke-width:1.8}.limit .curve"
            "{stroke-dasharray:5 4}.loophost .curve{stroke-width:3}"
            "circle{fill:var(--c)}.name{fill:var(--c)}.loophost .name{font-weight:600}</style>")


def power(exponent):
    digits = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return "10" + digits


def in_words(value, unit):
    """A tick of the vertical axis: 100 ns, 10 µs, 1 KB."""
    steps = [("ns", 1), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)]
    if unit == "B":
        steps = [("B", 1), ("kB", 1e3), ("MB", 1e6)]
    name, scale = [step for step in steps if value >= step[1]][-1] if value >= 1 else steps[0]
    return f"{value / scale:g} {name}"


def ticks(low, high):
    """Round numbers that lie between: powers of ten, and 2 and 5 of them if there are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(decades) > 3 else (1, 2, 5)
    return [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]


def spread_labels(wanted):
    """Moves labels (y, who) apart where they would overlap."""
    placed, last = {}, -math.inf
    for y, who in sorted(wanted):
        last = max(y, last + LABEL_HEIGHT)
        placed[who] = last
    over = last - (HEIGHT - BOTTOM + 4)
    if over > 0:
        last = math.inf
        for _, who in sorted(wanted, reverse=True):
            last = min(placed[who], last - LABEL_HEIGHT, HEIGHT - BOTTOM + 4)
            placed[who] = last
    return placed


def draw(row, curves):
    sizes = [size for curve in curves.values() for size, _ in curve]
    values = [value for curve in curves.values() for _, value in curve if value > 0]
    low, high = min(values) / 1.3, max(values) * 1.3
    first, last = min(sizes), max(max(sizes), min(sizes) * 10)

    def x(size):
        return LEFT + math.log(size / first) / math.log(last / first) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return TOP + math.log(high / value) / math.log(high / low) * (HEIGHT - TOP - BOTTOM)

    what = "bytes each" if row.unit == "B" else "CPU time of one operation"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
           f"<title>{escape(row.title)}: {what} over {escape(row.growth_x)}</title>", style(),
           f'<text class="title" x="{LEFT}" y="20">{escape(chart_title(row))}</text>',
           f'<text x="{LEFT}" y="36">{what}; lower is better</text>']
    for value in ticks(low, high):
        out.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
                   f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">'
                   f"{in_words(value, row.unit)}</text>")
    for exponent in range(round(math.log10(first)), round(math.log10(last)) + 1):
        out.append(f'<text x="{x(10**exponent):.1f}" y="{HEIGHT - BOTTOM + 20}"'
                   f' text-anchor="middle">{power(exponent)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}"'
               f' text-anchor="middle">{escape(row.growth_x)}</text>')
    labels = spread_labels([(y(curve[-1][1]) + 4, who) for who, curve in curves.items()])
    for who in sorted(curves, key=lambda who: who == "loophost"):
        points = [(x(size), y(value)) for size, value in curves[who]]
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        dots = "".join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6"/>' for px, py in points)
        out.append(f'<g class="{who}"><path class="curve" d="{path}"/>{dots}'
                   f'<text class="name" x="{WIDTH - RIGHT + 12}" y="{labels[who]:.1f}">'
                   f"{NAMES.get(who, who)}</text></g>")
    return "\n".join(out) + "\n</svg>\n"


def chart_title(row):
    """The title without the size, which is an axis here."""
    return row.title.split(",")[0].replace("100,000 ", "")
