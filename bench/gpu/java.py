"""Trains and decodes from Java and keeps what ./sinter bench prints.

    python java.py --java bin/java --class-path JARS --cuda libsinter_cuda.so --results FILE [--emulation FOLDER]

In the emulation Java only opens the device: GPT-2's size is not for that.
"""
import argparse
import json
import os
import subprocess
import sys

from measure import Results

COMMANDS = (["--pp", "0", "--tg", "0", "--train", "64x1024"], ["--pp", "512", "--tg", "128", "--batch", "1,64"])


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    for name in ("java", "class-path", "cuda", "results"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--emulation", help="the folder of the emulation, whose driver is then asked")
    options = parser.parse_args()
    results, environment = Results(options.results), dict(os.environ)
    if options.emulation:
        environment["LD_LIBRARY_PATH"] = f"{options.emulation}/driver"
    commands = [["info"]]
    if not options.emulation:
        commands += [["bench", "--json", "--dtype", "bf16", *what] for what in COMMANDS]
    for arguments in commands:
        print("sinter " + " ".join(arguments), flush=True)
        run = subprocess.run([options.java, f"-Ddev.sinter.cuda.library={options.cuda}", "-cp", options.class_path,
                              "dev.sinter.cli.Main", *arguments, "--device", "cuda"], capture_output=True, text=True,
                             env=environment)
        print(run.stdout + run.stderr, flush=True)
        if run.returncode:
            sys.exit(run.returncode)
        for line in run.stdout.splitlines() if arguments[0] == "bench" else []:
            row = json.loads(line)
            results.update("java", **{row["what"]: row})


if __name__ == "__main__":
    main()
