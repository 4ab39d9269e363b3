"""How things are measured: calls are recorded, replayed by turns with their peers', and the results kept in one file.

A replay is many calls that rotate through buffers which together exceed the second-level cache, so that nothing is found
there; PyTorch's calls are recorded by its CUDA graphs in the same way. Inputs are normal random numbers. Each figure is the
median of rounds, with the least and the most.
"""
import ctypes
import datetime
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import sinter

try:
    import torch
    HAS_TORCH = os.environ.get("SN_PEERS") != "none" and torch.cuda.is_available()
except ImportError:
    HAS_TORCH = False

SCRUB = 192 << 20  # bytes that the rotating buffers of one case make up at least
ROUNDS = 9
REPLAY = 5e-3  # seconds that a replay takes at least, beside which its launch is nothing

# Data sheets' rates, which MFU is counted by: those of the Java side.
PEAKS = pathlib.Path(__file__).resolve().parents[2] / "java/sinter/src/main/java/dev/sinter/graph/PeakRate.java"


def find_cublaslt():
    """The folder of cuBLASLt that PyTorch brings; None: the system's is taken."""
    for place in map(pathlib.Path, sys.path):
        for folder in sorted(place.glob("nvidia/*/lib")):
            if any(folder.glob("libcublasLt.so.1[23]")):
                return folder
    return None


class Results:
    """All that was measured, in one JSON file that grows row by row: what a stage that is cut off measured stays."""

    def __init__(self, path):
        self.path = path and pathlib.Path(path)
        self.content = {"machine": {}, "ceilings": {}, "rows": {}, "accuracy": {}, "ladder": {}, "java": {}}
        if self.path and self.path.exists():
            self.content = json.loads(self.path.read_text())

    def update(self, part, **values):
        self.content[part].update(values)
        if self.path:
            temporary = self.path.with_suffix(".writing")
            temporary.write_text(json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")
            os.replace(temporary, self.path)


class Bench:
    def __init__(self, options):
        self.options, self.tiny = options, options.tiny
        self.device = sinter.Device(options.library, options.cuda)
        self.results = Results(options.results)
        self.cublaslt = self.device.cublaslt(options.cublaslt or find_cublaslt())
        self.side = torch.cuda.Stream() if HAS_TORCH else None
        self.failed = []
        self.copy = self.peak = None  # bytes and operations a second, measured
        self.describe()

    def describe(self):
        driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True,
                                text=True).stdout.split("\n")[0] if not self.tiny else "none"
        self.results.update("machine", gpu=self.device.name, isa=self.device.isa, driver=driver, commit=self.options.commit,
                            date=str(datetime.date.today()), emulated=self.tiny, cublaslt=self.cublaslt,
                            torch=torch.__version__ if HAS_TORCH else None)

    # ---- measuring ----

    def seconds(self, replays, rounds=ROUNDS):
        """Of each replay the median, least and most seconds, one of each by turns."""
        for replay in replays:
            replay()
        times = [[] for _ in replays]
        for _ in range(1 if self.tiny else rounds):
            for replay, own in zip(replays, times):
                started = time.perf_counter()
                replay()
                own.append(time.perf_counter() - started)
        return [(statistics.median(own), min(own), max(own)) for own in times]

    def once(self, replay):
        replay()
        started = time.perf_counter()
        replay()
        return time.perf_counter() - started

    def torch_replay(self, calls):
        """Calls of PyTorch as a CUDA graph, and None; or as they are, and why they cannot be recorded. Gradients run on the
        stream of their forward pass: all is on one."""
        with torch.cuda.stream(self.side):
            for call in calls[:2]:
                call()
        torch.cuda.synchronize()
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.side):
                for call in calls:
                    call()
        except RuntimeError as error:
            torch.cuda.synchronize()

            def plain():
                with torch.cuda.stream(self.side):
                    for call in calls:
                        call()
                torch.cuda.synchronize()

            return plain, f"no graph: {str(error).splitlines()[0]}"

        def replay():
            graph.replay()
            torch.cuda.synchronize()

        return replay, None

    def peers(self, makers, sets, repeats):
        """(name, replay, calls, note) of each peer that runs; one that does not is said, not counted."""
        if not HAS_TORCH or self.tiny:
            return
        for name, make in makers.items():
            try:
                with torch.cuda.stream(self.side):
                    calls = make(sets)
                replay, note = self.torch_replay(calls * repeats)
                yield name, replay, len(calls), note
            except Exception as error:  # a peer may fail in any way; ours is measured all the same
                print(f"  {name} does not run: {str(error).splitlines()[0]}", flush=True)

    def wanted(self, name):
        return not self.options.only or any(name.startswith(only) for only in self.options.only.split(","))

    def attempt(self, name, work):
        """Does what makes a row, if it is wanted. A row that fails is said, and makes the whole fail at its end."""
        if not self.wanted(name):
            return
        try:
            work()
        except RuntimeError as error:
            print(f"{name} FAILED: {error}", flush=True)
            self.failed.append(name)
        finally:
            self.device.release()
            if HAS_TORCH:
                torch.cuda.empty_cache()

    def sets(self, buffer_bytes):
        return 2 if self.tiny else max(2, min(64, SCRUB // max(buffer_bytes, 1) + 1))

    def case(self, name, *arguments, **named):
        self.attempt(name, lambda: self.measure(name, *arguments, **named))

    def measure(self, name, bound, flops, size, buffer_bytes, ours, peers=None, own_peers=None, **extra):
        """One row. `ours(sets)` gives a list of calls, one for each of `sets` sets of buffers, or several lists by name, of
        which the first counts; so does each peer, and `own_peers` (sets) the peers that this library calls. `bound`, matrix,
        memory or floats, says which ceiling it is held against, `flops` and `size` what a call computes and must move."""
        sets = self.sets(buffer_bytes)
        variants = ours(sets)
        if not isinstance(variants, dict):
            variants = {"": variants}
        lent = own_peers(sets) if own_peers else {}
        first = next(iter(variants.values()))
        replay = self.device.record(first)
        if self.options.profile:
            self.profile(replay)
            return
        seconds = self.once(replay)
        replay.destroy()
        repeats = 1 if self.tiny else max(1, min(512 // len(first), math.ceil(REPLAY / seconds)))
        entries = [(each, self.device.record(calls * repeats), len(calls), None) for each, calls in [*variants.items(),
                                                                                                     *lent.items()]]
        recorded = [replay for _, replay, _, _ in entries]
        entries += self.peers(peers or {}, sets, repeats)
        measured = [dict(name=each, us=median * 1e6 / repeats / count, low=low * 1e6 / repeats / count,
                         high=high * 1e6 / repeats / count, note=note)
                    for (each, _, count, note), (median, low, high) in zip(entries, self.seconds([e[1] for e in entries]))]
        for replay in recorded:
            replay.destroy()
        self.row(name, bound, flops, size, measured[:len(variants)], measured[len(variants):], **extra)

    def profile(self, replay):
        """Replays once more where a profiler that waits for it sees it: ncu --profile-from-start off."""
        driver = ctypes.CDLL("libcuda.so.1")
        replay()
        driver.cuProfilerStart()
        replay()
        driver.cuProfilerStop()
        replay.destroy()

    def row(self, name, bound, flops, size, ours, peers, **extra):
        """Keeps a row and says it. `ours` and `peers` have name, us, low and high; the first of `ours` counts."""
        peers = sorted(peers, key=lambda peer: peer["us"])
        row = dict(bound=bound, flops=flops, bytes=size, ours=ours, peers=peers, copy=self.copy, peak=self.peak, **extra)
        self.results.update("rows", **{name: row})
        words = [f"{name}: {ours[0]['us']:.1f} µs"]
        words += [f"{other['name']} {other['us']:.1f}" for other in ours[1:]]
        words.append(f"{size / ours[0]['us'] / 1e3:.0f} GB/s" if bound == "memory" else
                     f"{flops / ours[0]['us'] / 1e6:.1f} TFLOP/s")
        words += [f"{peer['name']} {peer['us']:.1f} ({peer['us'] / ours[0]['us']:.2f})" for peer in peers]
        print(", ".join(words), flush=True)

    # ---- ceilings ----

    def ceilings(self):
        """What this GPU copies, read and written bytes together, and multiplies at best, measured now."""
        size = 1 << 16 if self.tiny else 2 << 30
        source, target = self.device.random(sinter.F32, size // 4), self.device.allocate(size)
        replay = self.device.record([lambda: self.device.copy(destination=target, source=source, bytes=size)] * 4)
        self.copy = 2 * size * 4 / self.seconds([replay])[0][0]
        replay.destroy()
        self.device.release()
        self.results.update("ceilings", copy=self.copy)
        if HAS_TORCH and not self.tiny:
            with torch.cuda.stream(self.side):
                a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
            replay, _ = self.torch_replay([lambda: a @ b] * 8)
            self.peak = 2 * 8192**3 * 8 / self.seconds([replay])[0][0]
            self.results.update("ceilings", peak=self.peak)

    def published_peak(self):
        """Operations a second that MFU is counted by, and whose word that is."""
        multiprocessors = self.device.c.sn_device_threads(self.device.device)
        for name, count, tflops in re.findall(r'new Known\("(.*?)", (\d+), ([\d.]+)', PEAKS.read_text()):
            if self.device.name.removeprefix("NVIDIA ") == name and int(count) == multiprocessors:
                return float(tflops) * 1e12, "data sheet"
        return self.peak, "measured"
