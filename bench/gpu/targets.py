"""What is to be reached on one H200 and what counts as reached: the project's targets, each against measured rows."""
import dataclasses
import math


def ratio_of(row):
    """The best peer's time over ours; of rows whose peer moves other bytes, by the byte. None: no peer ran."""
    if not row["peers"]:
        return None
    ratio = row["peers"][0]["us"] / row["ours"][0]["us"]
    return ratio * row["bytes"] / row["peer_bytes"] if row.get("peer_bytes") else ratio


def seconds(row):
    return row["ours"][0]["us"] * 1e-6


def rate(row):
    return row["flops"] / seconds(row) / 1e12


def share(row):
    return 100 * row["bytes"] / seconds(row) / row["copy"]


def mfu(row):
    return 100 * row["flops"] / seconds(row) / row["mfu_peak"]


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


# By kind of condition: what it compares of all rows of a target, whether the most is wanted, how it is written.
KINDS = {
    "ratio": (lambda rows: geomean([ratio_of(row) for row in rows]), True, "{:.2f}x"),
    "least": (lambda rows: min(ratio_of(row) for row in rows), True, "{:.2f}x at least"),
    "tflops": (lambda rows: min(map(rate, rows)), True, "{:.0f} TFLOP/s"),
    "copy": (lambda rows: min(map(share, rows)), True, "{:.0f}% of copy"),
    "mfu": (lambda rows: min(map(mfu, rows)), True, "{:.1f}% MFU"),
    "us": (lambda rows: max(seconds(row) * 1e6 for row in rows), False, "{:.0f} µs"),
    "tokens": (lambda rows: min(row["tokens"] / seconds(row) for row in rows), True, "{:.0f} tok/s"),
}
NEEDS = {"ratio": "peers", "least": "peers", "copy": "copy", "mfu": "mfu_peak"}  # of each row


@dataclasses.dataclass(frozen=True)
class Target:
    what: str
    rows: tuple
    must: dict


def gpt2_shapes():
    return tuple(f"gpt2 {layer}{which}" for layer in ("qkv", "attention output", "up", "down", "logits")
                 for which in ("", " dx", " dw"))


def of(what, must, *rows):
    return Target(what, rows or (what,), must)


TARGETS = [
    of("gemm 4096³", {"ratio": 1.00}),
    of("gemm 8192³", {"ratio": 1.00}),
    of("15 GPT-2 shapes, 65536 rows", {"ratio": 1.00, "least": 0.95}, *gpt2_shapes()),
    of("fused bias, GELU kept", {"ratio": 1.05}),
    of("fused dGELU", {"ratio": 1.05}),
    *(of(f"attention hd64 causal {length}", {"ratio": 1.05, "tflops": tflops})
      for length, tflops in ((1024, 310), (2048, 380), (8192, 460))),
    *(of(f"attention hd128 causal {length}", {"ratio": 1.00, "tflops": tflops})
      for length, tflops in ((1024, 420), (4096, 590), (16384, 670))),
    of("attention backward hd64 causal 1024", {"ratio": 1.15}),
    *(of(f"attention backward hd128 causal {length}", {"tflops": tflops}) for length, tflops in ((1024, 210), (2048, 370),
                                                                                              (8192, 540))),
    of("decode attention, 64 MB and more", {"copy": 85}, "decode attention 64×12×64, 1024 keys",
       "decode attention 8×32×128, 8192 keys"),
    of("adamw", {"ratio": 1.05, "copy": 90}),
    of("layer norm, residual", {"copy": 90}),
    of("layer norm, residual, backward", {"copy": 80}),
    of("classifier with gradient", {"ratio": 1.3}),
    *(of(f"training {model}", {"mfu": percent, "ratio": ratio}) for model, percent, ratio in (("124M", 48, 1.2), ("350M", 53, 1.15),
                                                                                            ("1.5B", 56, 1.1))),
    *(of(f"decoding {model}, 1 x 128", {"us": micros}) for model, micros in (("124M", 130), ("350M", 300), ("1.5B", 1000))),
    of("decoding 124M, 64 x 1024", {"tokens": 72000}),
    of("decoding 124M, 256 x 512", {"tokens": 150000}),
]


def judge(target, rows):
    """Of each condition: what was reached and is wanted, as words, and the distance: 0.03 is 3% better than wanted. The reached
    is None where a row or its peer is not there."""
    found = [rows[name] for name in target.rows if name in rows]
    for kind, wanted in target.must.items():
        reach, most, form = KINDS[kind]
        sign = "≥ " if most else "≤ "
        complete = len(found) == len(target.rows) and all(row[NEEDS[kind]] for row in found if kind in NEEDS)
        if not complete:
            yield None, sign + form.format(wanted), None
            continue
        reached = reach(found)
        yield form.format(reached), sign + form.format(wanted), (reached / wanted if most else wanted / reached) - 1
