"""Whole models beside torch.compile'd GPT-2: training steps with their MFU, and tokens decoded."""
import gc
import time

import gpt2
import plans
from measure import HAS_TORCH

if HAS_TORCH:
    import peer_gpt2
    import torch

TRAINING = {"124M": 64, "1.5B": 8, "350M": 32}  # sequences of 1024; the last one's peer compiles for longest
DECODING = (("124M", 1, 128), ("350M", 1, 128), ("1.5B", 1, 128), ("124M", 64, 1024), ("124M", 256, 512))
STEPS = 3  # of a replay of training


class Models:
    def __init__(self, bench):
        self.bench, self.device = bench, bench.device
        self.tuner = plans.Tuner(bench)

    def peer(self, make, graph):
        """PyTorch's replay of one call; None where it does not run."""
        if not HAS_TORCH or self.bench.tiny:
            return None, None
        started = time.time()
        try:
            with torch.cuda.stream(self.bench.side):
                call = make()
            if graph:
                replay, note = self.bench.torch_replay([call])
            else:
                def replay():
                    with torch.cuda.stream(self.bench.side):
                        for _ in range(STEPS):
                            call()
                    torch.cuda.synchronize()

                replay()
                note = None
            print(f"  PyTorch is ready after {time.time() - started:.0f} s", flush=True)
            return replay, note
        except Exception as error:  # out of memory, say; ours is measured all the same
            print(f"  PyTorch does not run: {str(error).splitlines()[0]}", flush=True)
            return None, None

    def measure(self, name, bound, flops, size, replay, count, peer, peer_count, note, **extra):
        """A row of a step: ours by replays of `count` steps, the peer's of `peer_count`."""
        entries = [(replay, count)] + ([(peer, peer_count)] if peer else [])
        times = self.bench.seconds([each for each, _ in entries], rounds=5)
        measured = [dict(name="", us=median * 1e6 / steps, low=low * 1e6 / steps, high=high * 1e6 / steps, note=None)
                    for (_, steps), (median, low, high) in zip(entries, times)]
        for row in measured[1:]:
            row.update(name="torch.compile", note=note)
        self.bench.row(name, bound, flops, size, measured[:1], measured[1:], **extra)

    def forget(self):
        """What PyTorch holds of a model."""
        gc.collect()
        if HAS_TORCH:
            torch._dynamo.reset()
            torch.cuda.empty_cache()

    def train(self, model, batch):
        name, tiny = f"training {model}", self.bench.tiny
        sizes, batch, length = (gpt2.TINY, 2, 16) if tiny else (gpt2.MODELS[model], batch, gpt2.CONTEXT)
        step = gpt2.Training(self.device, self.tuner, sizes, batch, length)
        replay = self.device.record(step.calls)
        replay()
        before = step.loss()
        peer, note = self.peer(lambda: peer_gpt2.training(sizes, batch, length), graph=False)
        tokens = batch * length
        peak, whose = self.bench.published_peak()
        self.measure(name, "matrix", sizes.training_flops(length) * tokens, 0, replay, 1, peer, STEPS, note, tokens=tokens,
                     mfu_peak=peak, mfu_peak_is=whose, batch=batch)
        after = step.loss()
        print(f"  loss {before:.3f}, {after:.3f} after these steps on one batch", flush=True)
        if not after < before:
            raise RuntimeError("the loss did not fall")
        replay.destroy()

    def decode(self, model, batch, length):
        name, tiny = f"decoding {model}, {batch} x {length}", self.bench.tiny
        sizes, batch, length = (gpt2.TINY, min(batch, 3), 9) if tiny else (gpt2.MODELS[model], batch, length)
        step = gpt2.Decoding(self.device, sizes, batch, min(length, sizes.context - 1))
        replay = self.device.record(step.calls)
        peer, note = self.peer(lambda: peer_gpt2.decoding(sizes, batch, step.length), graph=True)
        self.measure(name, "memory", 2 * sizes.parameters * batch, step.bytes, replay, 1, peer, 1, note, tokens=batch,
                     shape=f"{self.device.kernels(replay) or len(step.calls)} kernels")
        replay.destroy()

    def run_training(self):
        for model, batch in TRAINING.items():
            self.bench.attempt(f"training {model}", lambda: self.train(model, batch))
            self.forget()

    def run_decoding(self):
        for model, batch, length in DECODING:
            self.bench.attempt(f"decoding {model}, {batch} x {length}", lambda: self.decode(model, batch, length))
            self.forget()
