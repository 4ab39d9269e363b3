"""Trains and decodes from Java and keeps what ./sinter bench prints.

    python java.py --java bin/java --class-path JARS --cuda libsinter_cuda.so --results FILE [--emulation FOLDER]
"""
import argparse
import os
import subprocess
import sys

from measure import Results

COMMANDS = (["--pp", "0", "--tg", "0", "--train", "64x1024"], ["--pp", "512", "--tg", "128"],
            ["--pp", "0", "--tg", "128", "--batch", "64"])
TINY = (["--pp", "0", "--tg", "0", "--train", "1x4", "--runs", "1"], ["--pp", "0", "--tg", "2", "--runs", "1"])


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    for name in ("java", "class-path", "cuda", "results"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--emulation", help="the folder of the emulation, whose driver is then asked")
    options = parser.parse_args()
    environment, properties = dict(os.environ), [f"-Ddev.sinter.cuda.library={options.cuda}"]
    if options.emulation:
        environment["LD_LIBRARY_PATH"] = f"{options.emulation}/driver"
    results = Results(options.results)
    for arguments in [["info"], *(["bench", "--dtype", "bf16", *what] for what in (TINY if options.emulation else COMMANDS))]:
        command = [options.java, *properties, "-cp", options.class_path, "dev.sinter.cli.Main", *arguments, "--device", "cuda"]
        print(" ".join(command[-len(arguments) - 2:]), flush=True)
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        print(run.stdout + run.stderr, flush=True)
        if run.returncode:
            sys.exit(run.returncode)
        if arguments[0] == "bench":
            results.update("java", **{" ".join(arguments): [line for line in run.stdout.splitlines() if line]})


if __name__ == "__main__":
    main()
