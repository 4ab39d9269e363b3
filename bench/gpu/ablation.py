"""The ladder: what each step from the portable kernels to the fastest brings, beside what predictions.md said before."""
import copy
import pathlib

import gpt2
import models
import plans
import sinter
from attention import Attention
from products import LAYERS, ROWS, Products, shape_of

PREDICTIONS = pathlib.Path(__file__).resolve().with_name("predictions.md")


def predictions():
    """By rung: what was predicted, and why."""
    rows = [line.strip("| \n").split(" | ") for line in PREDICTIONS.read_text().splitlines() if line.startswith("| ")]
    return {rung: (predicted, why) for rung, predicted, why in rows[1:]}


class Ablation:
    def __init__(self, bench):
        self.bench, self.predicted = bench, predictions()
        self.portable = copy.copy(bench)
        self.portable.device = sinter.Device(bench.options.library, bench.options.cuda, "sm_80")
        self.sides = {"portable": self.portable}
        if bench.device.isa == "sm_90":
            self.sides["sm_90"] = bench

    def rung(self, name, measured, unit, how):
        predicted, why = self.predicted.get(name, ("", ""))
        print(f"{name}: {measured:.4g} {unit}, predicted {predicted or 'nothing'} ({how})", flush=True)
        self.bench.results.update("ladder", **{name: dict(measured=measured, unit=unit, predicted=predicted, why=why, how=how)})

    def release(self):
        for side in self.sides.values():
            side.device.release()

    def compare(self, entries, flops):
        """Rungs of one operation, by turns. Entries: name, how, device, calls."""
        replays = [device.record(calls * (1 if self.bench.tiny else 8)) for _, _, device, calls in entries]
        for (name, how, _, calls), replay, (median, _, _) in zip(entries, replays, self.bench.seconds(replays)):
            count = len(calls) * (1 if self.bench.tiny else 8)
            self.rung(name, flops * count / median / 1e12, "TFLOP/s", how)
            replay.destroy()
        self.release()

    def product(self, name, shape):
        entries, seen = [], set()
        for side in self.sides.values():
            products = Products(side)
            operands = [products.operands(shape) for _ in range(2)]
            for _, code in products.tuner.ranked(side.device, shape, **operands[0]):
                features = plans.features_of(code)
                if features not in seen:
                    seen.add(features)
                    entries.append((f"{name}, {features}", plans.describe(code), side.device,
                                    products.calls(shape, code, operands)))
        self.compare(entries, 2 * shape.m * shape.n * shape.k)

    def attention(self, what, heads, size, length):
        batch, heads, queries = (1, 2, 70) if self.bench.tiny else (16384 // length, heads, length)
        entries = []
        for name, side in self.sides.items():
            own = Attention(side)
            shape = own.shape(batch, queries, heads, size, 1)
            calls = (own.forward if what == "attention" else own.backward)(shape)(2)
            entries.append((f"{what} hd{size} causal {length}, {name}", side.device.isa, side.device, calls))
        self.compare(entries, (4 if what == "attention" else 10) * batch * heads * queries * (queries + 1) / 2 * size)

    def training(self, model, batch):
        sizes, batch, length = (gpt2.TINY, 2, 16) if self.bench.tiny else (gpt2.MODELS[model], batch, gpt2.CONTEXT)
        peak, _ = self.bench.published_peak()
        ways = [("portable kernels", self.portable, True)]
        if "sm_90" in self.sides:
            ways += [("sm_90, the model's plans", self.bench, False), ("sm_90, tuned", self.bench, True)]
        for name, side, tuned in ways:
            step = gpt2.Training(side.device, plans.Tuner(side) if tuned else None, sizes, batch, length)
            replay = side.device.record(step.calls)
            (median, _, _), = self.bench.seconds([replay], rounds=5)
            replay.destroy()
            self.release()
            percent = 100 * sizes.training_flops(length) * batch * length / median / (peak or 1e12)
            self.rung(f"training {model}, {name}", percent, "% MFU", f"{batch} sequences of {length}")

    def decoding(self, model, batch, length):
        sizes, tokens = (gpt2.TINY, 9) if self.bench.tiny else (gpt2.MODELS[model], length)
        for fused, how in ((False, "a kernel an operation"), (True, "norms and appends within others"))[:2 if gpt2.FUSES else 1]:
            step = gpt2.Decoding(self.bench.device, sizes, batch, tokens, fused)
            replay = self.bench.device.record(step.calls)
            (median, _, _), = self.bench.seconds([replay])
            self.rung(f"decoding {model}, {batch} x {length}, {how}", median * 1e6, "µs",
                      f"{len(step.calls)} calls, {self.bench.device.kernels(replay) or '?'} kernels")
            replay.destroy()
            self.release()

    def run(self):
        tiny = self.bench.tiny
        self.product("gemm 8192³", shape_of(*(3 * (64 if tiny else 8192,))))
        out, inner = LAYERS["up"]
        self.product("gpt2 up", shape_of(40, 256, 64) if tiny else shape_of(ROWS, out, inner))
        for what, heads, size, length in (("attention", 12, 64, 1024), ("attention", 16, 128, 4096),
                                          ("attention backward", 12, 64, 1024), ("attention backward", 16, 128, 2048)):
            self.attention(what, heads, size, length)
        self.training("124M", models.TRAINING["124M"])
        self.decoding(*models.DECODING[0])
