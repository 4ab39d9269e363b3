"""Runs ./sinter bench and its peers by turns; prints a table of medians, ratios and peak memory.

    python bench/peers/compare.py [options] > bench/results/NAME.md

    --rounds 3            turns of each pair
    --only pp512,train4x64        rows whose name begins with one of these
    --data FILE           also trains nanoGPT's CPU example (tinyshakespeare) in Sinter and in PyTorch
    --llama FOLDER        also runs llama.cpp (bench/peers/llama_cpp.py says what the folder holds)
    --llm-c FOLDER        also runs llm.c, built from this checkout of it

Needs a Python with torch, and peft for the rows of LoRA; with --llama numpy and gguf.
"""
import argparse
import datetime
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = {"pp": ["--tg", "0", "--pp"], "tg": ["--pp", "0", "--tg"], "tr": ["--pp", "0", "--tg", "0", "--train"]}
PYTHON_ROWS = [(what, dtype) for what in ("pp512", "tg128", "train4x64", "train4x256", "lora4x64", "lora4x256")
               for dtype in ("fp32", "bf16")]
LLAMA_ROWS = [(what, dtype) for what in ("tg128", "tg128x8", "tg128x32", "pp512") for dtype in ("fp32", "bf16", "q8", "q4")]
LLM_C_ROWS = [("train4x64", "fp32"), ("train4x256", "fp32")]


def run(*command, **environment):
    """What a command prints, and its peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err, cwd=ROOT,
                                   env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{err.read()}")
        return out.read().strip(), err.read(), usage.ru_maxrss / 1024


def sinter(what, dtype):
    if what.startswith("lora"):  # all weights train in turn with it, so the process's memory is not LoRA's
        out, _, _ = run("./sinter", "bench", "--json", "--runs", 3, "--dtype", dtype, *FLAGS["tr"], what[4:], "--lora", 8)
        rows = [json.loads(line) for line in out.splitlines()]
        return next(row["tok_s_median"] for row in rows if " lora 8 " in row["what"]), math.nan
    if what.startswith("train"):
        options = ["--dtype", dtype, *FLAGS["tr"], what.removeprefix("train")]
    else:
        number, _, batch = what[2:].partition("x")
        options = ["--weights", dtype, *FLAGS[what[:2]], number, "--batch", batch or 1]
    out, _, memory = run("./sinter", "bench", "--json", "--runs", 3, *options)
    return json.loads(out.splitlines()[-1])["tok_s_median"], memory


def pytorch(what, dtype):
    out, _, memory = run(sys.executable, HERE / "pytorch.py", what, "--dtype", dtype)
    return float(out), memory


def llama(folder):
    def measure(what, dtype):
        out, _, memory = run(sys.executable, HERE / "llama_cpp.py", what, "--dtype", dtype, "--folder", folder)
        return float(out), memory

    return measure


def llm_c(checkout):
    program = pathlib.Path(tempfile.mkdtemp()) / "llm_c"
    run("gcc", "-Ofast", "-march=native", "-fopenmp", "-DTESTING", "-w", "-I", checkout, HERE / "llm_c.c", "-lm", "-o", program)

    def measure(what, dtype):
        out, _, memory = run(program, *what.removeprefix("train").split("x"), 2, OMP_NUM_THREADS="2")
        return float(out.splitlines()[-1]), memory

    return measure


def table(peer, measure, rows, options):
    print(f"## {peer}\n\nGPT-2 124M shape, random weights, tokens/s and peak memory in MiB:\n")
    print(f"| | Sinter | {peer} | ratio | Sinter MiB | {peer} MiB |\n|---|---|---|---|---|---|")
    for what, dtype in rows:
        if not any(what.startswith(name) for name in options.only.split(",")):
            continue
        turns = [(*sinter(what, dtype), *measure(what, dtype)) for _ in range(options.rounds)]
        ours, our_memory, theirs, their_memory = map(statistics.median, zip(*turns))
        ratio = statistics.median(turn[0] / turn[2] for turn in turns)
        every = " · ".join(f"{turn[0]:g}/{turn[2]:g}" for turn in turns)
        print(f"| {what} {dtype} | {ours:g} | {theirs:g} | **{ratio:.2f}** ({every}) | "
              f"{'' if math.isnan(our_memory) else f'{our_memory:.0f}'} | {their_memory:.0f} |",
              flush=True)
    print()


def sinter_shakespeare(data, seed):
    folder = tempfile.mkdtemp()
    try:
        started = time.perf_counter()
        _, log, _ = run("./sinter", "train", "--data", data, "--out", folder + "/model", "--seed", seed)
        return time.perf_counter() - started, float(re.findall(r"validation loss ([\d.]+)", log)[-1])
    finally:
        shutil.rmtree(folder)


def pytorch_shakespeare(data, seed):
    started = time.perf_counter()
    out, _, _ = run(sys.executable, HERE / "pytorch.py", "shakespeare", "--data", data, "--seed", seed)
    return time.perf_counter() - started, float(out.split()[1])


def shakespeare(options):
    print("## nanoGPT's CPU example\n\ntinyshakespeare, 2000 steps, evaluations and start included:\n")
    print("| seed | Sinter s | loss | PyTorch s | loss | PyTorch's time / ours |\n|---|---|---|---|---|---|")
    turns = []
    for seed in range(1337, 1337 + options.rounds):
        ours, loss = sinter_shakespeare(options.data, seed)
        theirs, their_loss = pytorch_shakespeare(options.data, seed)
        turns.append((ours, loss, theirs, their_loss))
        print(f"| {seed} | {ours:.1f} | {loss:.4f} | {theirs:.1f} | {their_loss:.4f} | **{theirs / ours:.2f}** |", flush=True)
    ours, loss, theirs, their_loss = (list(column) for column in zip(*turns))
    ratio = statistics.median(b / a for a, b in zip(ours, theirs))
    print(f"| median s, mean loss | {statistics.median(ours):.1f} | {statistics.mean(loss):.4f} | {statistics.median(theirs):.1f} "
          f"| {statistics.mean(their_loss):.4f} | **{ratio:.2f}** |")


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--llama", type=pathlib.Path)
    parser.add_argument("--llm-c", type=pathlib.Path)
    parser.add_argument("--only", default="pp,tg,train,lora")
    options = parser.parse_args()
    for name in ("data", "llama", "llm_c"):  # every command runs in the project's root
        if getattr(options, name) is not None:
            setattr(options, name, getattr(options, name).resolve())
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    version = run(sys.executable, "-c", "import torch; print(torch.__version__)")[0]
    info = run("./sinter", "info")[0]
    isa = re.search(r"isa\s+(\S+)", info)[1]
    print(f"# Beside the peers on the CPU, 2 threads\n\n{datetime.date.today()}, {cpu}, {isa}, commit "
          f"{run('git', 'rev-parse', '--short', 'HEAD')[0]}, PyTorch {version}; {options.rounds} rounds by turns: medians, the "
          "median of the rounds' ratios, and every round\n")
    table("PyTorch", pytorch, PYTHON_ROWS, options)
    if options.llama:
        table("llama.cpp", llama(options.llama), LLAMA_ROWS, options)
    if options.llm_c:
        table("llm.c", llm_c(options.llm_c), LLM_C_ROWS, options)
    if options.data:
        shakespeare(options)


if __name__ == "__main__":
    main()
