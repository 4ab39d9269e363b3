"""Measures Sinter's CUDA operations beside their best peers on one GPU, by turns in one process.

    python bench/gpu/bench.py --library libsinter.so --cuda libsinter_cuda.so [--results FILE] AREA...

AREAs: accuracy, gemm, attention, memory, training, decode, ablation. What is measured is printed and added to the results' file, which
report.py makes tables and a plot of. Without torch, or with SN_PEERS=none, only ours and cuBLASLt run; --tiny runs small shapes, for the emulation.
"""
import argparse
import importlib
import sys

import measure

AREAS = {"accuracy": [("accuracy", "Accuracy", "run")],
         "gemm": [("products", "Products", "run")],
         "attention": [("attention", "Attention", "run")],
         "memory": [("streams", "Streams", "run"), ("attention", "Attention", "run_decode")],
         "training": [("models", "Models", "run_training")],
         "decode": [("models", "Models", "run_decoding")],
         "ablation": [("ablation", "Ablation", "run")]}


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("areas", nargs="+", choices=AREAS)
    parser.add_argument("--library", required=True)
    parser.add_argument("--cuda", required=True)
    parser.add_argument("--cublaslt", help="the folder of cuBLASLt; default: PyTorch's, else the system's")
    parser.add_argument("--results", help="the JSON file that gets the rows")
    parser.add_argument("--only", default="", help="rows whose name begins with one of these, separated by commas")
    parser.add_argument("--profile", action="store_true", help="show each row to a profiler instead of timing it")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--commit", default="unknown")
    bench = measure.Bench(parser.parse_args())
    bench.ceilings()
    for area in bench.options.areas:
        for module, kind, method in AREAS[area]:
            getattr(getattr(importlib.import_module(module), kind)(bench), method)()
    if bench.failed:
        sys.exit(f"failed: {'; '.join(bench.failed)}")


if __name__ == "__main__":
    main()
