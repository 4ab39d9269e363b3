"""Runs ./sinter bench and bench/peers/pytorch.py by turns and prints a table of medians and their ratio.

    python bench/peers/compare.py [--rounds 3] [--data tinyshakespeare.txt] [--only pp512,train4x64] > bench/results/NAME.md

Needs a Python with torch. With --data it also trains nanoGPT's CPU example in both.
"""
import argparse
import datetime
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
FLAGS = {"pp512": ["--pp", "512", "--tg", "0"], "tg32": ["--pp", "0", "--tg", "32"]}


def text(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


def sinter(what, dtype):
    flags = FLAGS.get(what) or ["--pp", "0", "--tg", "0", "--train", what[5:]]
    lines = text("./sinter", "bench", "--json", "--runs", "3", "--dtype", dtype, *flags).splitlines()
    return json.loads(lines[-1])["tok_s_median"]


def pytorch(what, dtype):
    return float(text(sys.executable, str(HERE / "pytorch.py"), what, "--dtype", dtype))


def sinter_shakespeare(data, seed):
    folder = tempfile.mkdtemp()
    try:
        started = time.perf_counter()
        log = subprocess.run(["./sinter", "train", "--data", data, "--out", folder + "/model", "--seed", str(seed)],
                             check=True, capture_output=True, text=True, cwd=ROOT).stderr
        seconds = time.perf_counter() - started
        return seconds, float(re.findall(r"validation loss ([\d.]+)", log)[-1])
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data")
    parser.add_argument("--only", default="pp512,tg32,train4x64,train4x256")
    options = parser.parse_args()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"# Beside PyTorch {text(sys.executable, '-c', 'import torch; print(torch.__version__)')}, 2 threads\n")
    commit = text("git", "rev-parse", "--short", "HEAD")
    print(f"{datetime.date.today()}, {cpu}, commit {commit}, {options.rounds} rounds by turns, medians (all values)\n")
    print("GPT-2 124M shape, random weights, tokens/s:\n\n| | Sinter | PyTorch | ratio |\n|---|---|---|---|")
    for what in filter(None, options.only.split(",")):
        for dtype in ("fp32", "bf16"):
            pairs = [(sinter(what, dtype), pytorch(what, dtype)) for _ in range(options.rounds)]
            ours, theirs = (statistics.median(side) for side in zip(*pairs))
            every = " · ".join(f"{a:g}/{b:g}" for a, b in pairs)
            print(f"| {what} {dtype} | {ours:g} | {theirs:g} | **{ours / theirs:.2f}** ({every}) |", flush=True)
    if options.data:
        print("\nnanoGPT's CPU example (tinyshakespeare, 2000 steps, evaluations and start included):\n")
        print("| seed | Sinter s | loss | PyTorch s | loss | PyTorch's time / ours |\n|---|---|---|---|---|---|")
        for seed in range(1337, 1337 + options.rounds):
            ours, loss = sinter_shakespeare(options.data, seed)
            command = [sys.executable, str(HERE / "pytorch.py"), "shakespeare", "--data", options.data]
            started = time.perf_counter()
            their_loss = text(*command, "--seed", str(seed)).split()[1]
            theirs = time.perf_counter() - started
            print(f"| {seed} | {ours:.1f} | {loss:.4f} | {theirs:.1f} | {their_loss} | **{theirs / ours:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
