"""Makes of results.json files the table of targets, that of all rows, the ladder and the roofline.

    python bench/gpu/report.py RESULTS... --into NAME

Writes NAME.md, NAME.json and NAME.svg. Several RESULTS are those of several calls: of one GPU and one commit. What was emulated
says so, and is not written where results are kept: into bench/results.
"""
import argparse
import json
import pathlib
import sys

import roofline
from targets import TARGETS, geomean, judge, ratio_of

KEPT = pathlib.Path(__file__).resolve().parents[1] / "results"


def merged(files):
    """One content of several; a row that several have is the last one's."""
    whole = None
    for file in files:
        content = json.loads(pathlib.Path(file).read_text())
        if whole is None:
            whole = content
            continue
        for word in ("gpu", "commit", "emulated"):
            if content["machine"][word] != whole["machine"][word]:
                sys.exit(f"{file}: {word} is {content['machine'][word]}, before it was {whole['machine'][word]}")
        for part in content:
            whole[part].update(content[part])
    return whole


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def spread(run):
    """How far the rounds are apart, of the median."""
    return f"{100 * (run['high'] - run['low']) / run['us']:.0f}%"


def peer_of(row):
    if not row["peers"]:
        return "", ""
    best = row["peers"][0]
    return f"{best['name']} {best['us']:.1f}" + (f" ({best['note']})" if best["note"] else ""), f"{ratio_of(row):.2f}"


def targets_table(rows, emulated):
    lines, met, counted = [], 0, 0
    for target in TARGETS:
        verdicts = list(judge(target, rows))
        known = [verdict for verdict in verdicts if verdict[2] is not None]
        alone = rows.get(target.rows[0]) if len(target.rows) == 1 else None
        ours = f"{alone['ours'][0]['us']:.1f}" if alone else ""
        peer, ratio = peer_of(alone) if alone else ("", "")
        if len(known) == len(verdicts):
            distance = min(verdict[2] for verdict in known)
            counted, met = counted + 1, met + (distance >= 0)
            verdict = "emulated" if emulated else "met" if distance >= 0 else "**missed**"
        else:
            distance, verdict = (min(v[2] for v in known) if known else None), "not measured"
        lines.append([target.what, ours, peer, ratio, ", ".join(v[0] for v in known), ", ".join(v[1] for v in verdicts),
                      "" if distance is None else f"{100 * distance:+.1f}%", verdict])
    head = ["what", "ours µs", "best peer µs", "peer / ours", "reached", "must", "distance", ""]
    if emulated:
        return table(head, lines), "None was judged."
    return table(head, lines), f"{met} of {counted} targets that could be measured are met, of {len(TARGETS)}."


def rows_table(rows):
    lines = []
    for name, row in rows.items():
        ours, others = row["ours"][0], [*row["ours"][1:], *row["peers"]]
        memory = row["bound"] == "memory"
        ceiling = {"memory": row["copy"], "matrix": row["peak"]}.get(row["bound"])
        achieved = (row["bytes"] if memory else row["flops"]) / ours["us"] * 1e6
        rate = f"{achieved / 1e9:.0f} GB/s" if memory else f"{achieved / 1e12:.0f} TFLOP/s"
        lines.append([name + (f", {row['shape']}" if "shape" in row else ""), ours["name"], f"{ours['us']:.1f}", spread(ours), rate,
                      f"{100 * achieved / ceiling:.0f}%" if ceiling else "",
                      "; ".join(f"{other['name']} {other['us']:.1f}" for other in others), peer_of(row)[1]])
    return table(["operation", "plan", "µs", "spread", "rate", "of the ceiling", "others µs", "best peer / ours"], lines)


def accuracy_table(errors):
    lines = [[name, f"{error['ours']:.2e}", f"{error['torch']:.2e}", f"{error['ours'] / error['torch']:.2f}",
              "met" if error["ours"] <= 1.1 * error["torch"] else "**missed**"] for name, error in errors.items()]
    return table(["what", "ours", "PyTorch", "ours / PyTorch", ""], lines)


def java_table(rows):
    lines = [[name, f"{row['tok_s_median']:.0f}", f"{row['tok_s_min']:.0f}", f"{row['tok_s_max']:.0f}",
              f"{100 * row['mfu']:.1f}% of {row['peak_from']}" if "mfu" in row else ""] for name, row in rows.items()]
    return table(["what", "tok/s", "least", "most", "MFU"], lines)


def model_words(rows):
    """How far the cost model's own choice is from the best of our plans."""
    losses = {name: row["ours"][1]["us"] / row["ours"][0]["us"] for name, row in rows.items() if len(row["ours"]) > 1}
    if not losses:
        return []
    worst = max(losses, key=losses.get)
    return [f"Products run by the best of our plans. The cost model's own choice takes {geomean(list(losses.values())):.2f} times as "
            f"long in the mean, and at worst {losses[worst]:.2f}: {worst}.", ""]


def ladder_table(ladder):
    """Rungs in the order in which they were measured, beside what predictions.md said before."""
    lines = [[name, rung["predicted"], f"{rung['measured']:.4g}", rung["unit"], rung["how"], rung["why"]]
             for name, rung in ladder.items()]
    return table(["rung", "predicted", "measured", "", "how", "why it was predicted"], lines)


def write(content):
    """The Markdown."""
    machine, ceilings = content["machine"], content["ceilings"]
    lines = [f"# On {machine['gpu']}, {machine['date']}", ""]
    if machine["emulated"]:
        lines += ["**emulated: no figure here means anything**", ""]
    version = machine["cublaslt"]
    lines += [f"Commit {machine['commit']}, {machine['isa']}, driver {machine['driver']}, "
              f"cuBLASLt {f'{version // 10000}.{version // 100 % 100}' if version else 'none'}, "
              f"PyTorch {machine['torch'] or 'none'}. Command: `bench/gpu/lab`.", "",
              f"Measured in this run: copy {ceilings['copy'] / 1e9:.0f} GB/s, read and written bytes together"
              + (f"; cuBLAS at 8192³ {ceilings['peak'] / 1e12:.0f} TFLOP/s" if "peak" in ceilings else "")
              + ". Medians of rounds by turns in one process; inputs are normal random numbers that no cache holds.", ""]
    rows, verdict = targets_table(content["rows"], machine["emulated"])
    lines += ["## Targets", "", verdict, "", *rows, ""]
    lines += ["Attention's backward pass has fixed sums, and no other form. A step of decoding is one launch of a graph with the "
              "sampler in it, which a test asserts.", ""]
    if content["accuracy"]:
        lines += ["## Errors against fp64", "", "No more than 1.1 times PyTorch's in the same dtype.", "",
                  *accuracy_table(content["accuracy"]), ""]
    if content["ladder"]:
        lines += ["## Ladder", "", *ladder_table(content["ladder"]), ""]
    if content["java"]:
        lines += ["## From Java", "", *java_table(content["java"]), ""]
    lines += [*model_words(content["rows"]), "## All rows", "", *rows_table(content["rows"]), ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("results", nargs="+")
    parser.add_argument("--into", required=True, help="the files' name, without .md, .json and .svg")
    options = parser.parse_args()
    into = pathlib.Path(options.into)
    content = merged(options.results)
    if content["machine"]["emulated"] and into.resolve().parent == KEPT:
        sys.exit("emulated figures are not kept: they mean nothing")
    pathlib.Path(f"{into}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    picture = roofline.draw(content)
    if picture:
        pathlib.Path(f"{into}.svg").write_text(picture)
    pathlib.Path(f"{into}.md").write_text(write(content) + (f"\n![roofline]({into.name}.svg)\n" if picture else ""))


if __name__ == "__main__":
    main()
