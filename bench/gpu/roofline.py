"""A roofline (Williams et al. 2009) as SVG: each row a point for ours and one for its best peer, under the copy bandwidth and
the matrix peak that the same run measured."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 1240, 760, 80, 50, 740, 640
X, Y = (0.2, 10000.0), (0.3, 1200.0)  # operations a byte, TFLOP/s
OURS, PEER, INK, GRID = "#0b6e99", "#c8553d", "#222222", "#dddddd"


def scale(value, limits, start, length):
    low, high = map(math.log10, limits)
    return start + length * (math.log10(min(max(value, limits[0]), limits[1])) - low) / (high - low)


def at(intensity, tflops):
    return scale(intensity, X, LEFT, PLOT_WIDTH), TOP + PLOT_HEIGHT - scale(tflops, Y, 0, PLOT_HEIGHT)


def text(x, y, words, size=12, anchor="start", fill=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>')


def line(a, b, stroke, width=1.0):
    return f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{stroke}" stroke-width="{width}"/>'


def decades(limits):
    low, high = (math.log10(limit) for limit in limits)
    return [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]


def draw(content):
    """The SVG of a results' file, or None where there is nothing to draw."""
    rows = {name: row for name, row in content["rows"].items() if row["bytes"] and row["flops"]}
    copy, peak = content["ceilings"].get("copy"), content["ceilings"].get("peak")
    if not rows or not copy:
        return None
    machine = content["machine"]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'font-family="DejaVu Sans, sans-serif">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             text(LEFT, 28, ("emulated: no figure here means anything; " if machine["emulated"] else "")
                  + f"{machine['gpu']}, {machine['date']}, commit {machine['commit']}", 15)]
    for x in decades(X):
        parts += [line(at(x, Y[0]), at(x, Y[1]), GRID), text(at(x, Y[0])[0], TOP + PLOT_HEIGHT + 18, f"{x:g}", anchor="middle")]
    for y in decades(Y):
        parts += [line(at(X[0], y), at(X[1], y), GRID), text(LEFT - 8, at(X[0], y)[1] + 4, f"{y:g}", anchor="end")]
    parts += [text(LEFT + PLOT_WIDTH / 2, TOP + PLOT_HEIGHT + 42, "operations a byte", 13, "middle"),
              text(LEFT - 60, TOP - 10, "TFLOP/s", 13)]
    corner = peak / copy if peak else X[1]
    start = max(X[0], Y[0] * 1e12 / copy)
    parts += [line(at(start, start * copy / 1e12), at(corner, corner * copy / 1e12), INK, 2),
              text(at(10, 0)[0] - 8, at(0, 10 * copy / 1e12)[1], f"copy {copy / 1e9:.0f} GB/s", anchor="end")]
    if peak:
        parts += [line(at(corner, peak / 1e12), at(X[1], peak / 1e12), INK, 2),
                  text(LEFT + PLOT_WIDTH - 6, at(0, peak / 1e12)[1] - 8, f"cuBLAS at 8192³ {peak / 1e12:.0f} TFLOP/s", anchor="end")]
    legend = LEFT + PLOT_WIDTH + 30
    parts += [f'<circle cx="{legend}" cy="{TOP - 4}" r="5" fill="{OURS}"/>', text(legend + 12, TOP, "ours"),
              f'<circle cx="{legend + 70}" cy="{TOP - 4}" r="4" fill="white" stroke="{PEER}" stroke-width="2"/>',
              text(legend + 82, TOP, "the best peer")]
    step = min(15.0, (HEIGHT - TOP - 30) / len(rows))
    for number, (name, row) in enumerate(rows.items(), 1):
        intensity = row["flops"] / row["bytes"]
        for runs, peer in ((row["peers"][:1], True), (row["ours"][:1], False)):
            for run in runs:
                x, y = at(intensity, row["flops"] / run["us"] / 1e6)
                paint = f'fill="white" stroke="{PEER}" stroke-width="2"' if peer else f'fill="{OURS}"'
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if peer else 5}" {paint}/>')
                if not peer:
                    parts.append(text(x + 6, y - 4, str(number), 9, fill=OURS))
        parts.append(text(legend, TOP + 14 + step * number, f"{number}  {name}", min(11, step - 1)))
    return "\n".join([*parts, "</svg>", ""])
