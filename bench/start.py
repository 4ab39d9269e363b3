"""How soon ./sinter generate gives its first token, and the most memory it takes doing so.

    python bench/start.py MODEL… [--weights q8] [--runs 5] [--new-tokens 1]

MODEL is a folder, plain or packed, or a .gguf file, with a tokenizer. Prints a row for each: milliseconds from the start of
the process to the first token on its output, and peak resident memory (VmHWM) in MiB, beside the weights' file. Run it on
a machine that does nothing else, twice: the first run reads the file from the disk.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "Hello"


def start(model, options):
    """Milliseconds to the first token, and MiB."""
    command = [ROOT / "sinter", "generate", "--model", model, "--prompt", PROMPT, "--max-new-tokens", options.new_tokens]
    command += ["--weights", options.weights] if options.weights else []
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
    text = b""
    while len(text) <= len(PROMPT):
        more = process.stdout.read(1)
        if not more:
            break
        text += more
    first = time.perf_counter() - started
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return first * 1e3, usage.ru_maxrss / 1024


def size(model):
    files = [model] if model.is_file() else sorted(model.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files) / 2**20


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("models", type=pathlib.Path, nargs="+", metavar="MODEL")
    parser.add_argument("--weights")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=1)
    options = parser.parse_args()
    subprocess.run([ROOT / "sinter", "--version"], check=True, stdout=subprocess.DEVNULL)  # builds what has changed
    print("| model | first token, ms | every run | peak MiB | file MiB |\n|---|---|---|---|---|")
    for model in options.models:
        runs = [start(model, options) for _ in range(options.runs)]
        first = statistics.median(run[0] for run in runs)
        every = " · ".join(f"{run[0]:.0f}" for run in runs)
        name = model.name + (f" as {options.weights}" if options.weights else "")
        print(f"| {name} | {first:.0f} | {every} | {max(run[1] for run in runs):.0f} | {size(model):.0f} |", flush=True)


if __name__ == "__main__":
    main()
