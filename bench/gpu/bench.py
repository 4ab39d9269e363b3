"""Times Sinter's CUDA operations beside PyTorch's best on one GPU, by turns in one process, and prints a table.

    python bench/gpu/bench.py --library libsinter.so --cuda libsinter_cuda.so [--only gemm,attention] [--tiny]

Each figure is the median of rounds; a round replays a recording of many calls that rotate through buffers which together
exceed the second-level cache, so that nothing is found there; PyTorch's calls are recorded by its CUDA graphs in the same
way. Inputs are normal random numbers. Without torch only ours runs; --tiny runs small shapes, for the emulation.
"""
import argparse
import datetime
import statistics
import subprocess
import time

import sinter
from sinter import BF16, F32, Enum

try:
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel
    HAS_TORCH = torch.cuda.is_available()
except ImportError:
    HAS_TORCH = False

SCRUB = 192 << 20  # bytes that the rotating buffers of one case make up at least
ROUNDS = 9


class Bench:
    def __init__(self, device, options):
        self.device, self.options = device, options
        self.copy_gb = self.matrix_tflops = float("nan")

    # ---- measuring ----

    def seconds(self, replays):
        """The median seconds of each replay, one of each by turns."""
        for replay in replays:
            replay()
        times = [[] for _ in replays]
        for _ in range(1 if self.options.tiny else ROUNDS):
            for replay, own in zip(replays, times):
                started = time.perf_counter()
                replay()
                own.append(time.perf_counter() - started)
        return [statistics.median(own) for own in times]

    def torch_replay(self, calls):
        """Calls of PyTorch as a CUDA graph; None where one of them cannot be recorded or run."""
        try:
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for call in calls[:2]:
                    call()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for call in calls:
                    call()
        except RuntimeError:
            torch.cuda.synchronize()
            return None

        def replay():
            graph.replay()
            torch.cuda.synchronize()

        return replay

    def case(self, name, amount, unit, buffer_bytes, ours, peers=None, target=""):
        """One row. `ours(sets)` gives a list of calls, one for each of `sets` sets of buffers; so does each peer."""
        if self.options.only and not any(name.startswith(only) for only in self.options.only.split(",")):
            return
        sets = 2 if self.options.tiny else max(2, min(64, SCRUB // max(buffer_bytes, 1) + 1))
        calls = ours(sets)
        repeats = 1 if self.options.tiny else max(1, 64 // len(calls))
        calls = calls * repeats
        replay = self.device.record(calls)
        replays, names = [replay], []
        if HAS_TORCH and not self.options.tiny:
            for peer, make in (peers or {}).items():
                their = self.torch_replay(make(sets) * repeats)
                if their is not None:
                    replays.append(their)
                    names.append(peer)
        times = [value / len(calls) for value in self.seconds(replays)]
        replay.destroy()
        self.device.release()
        rate = amount / times[0]
        ceiling = self.matrix_tflops * 1e12 if unit == "TFLOP/s" else self.copy_gb * 1e9
        row = f"| {name} | {times[0] * 1e6:.1f} | {rate / (1e12 if unit == 'TFLOP/s' else 1e9):.1f} {unit} "
        row += f"| {100 * rate / ceiling:.0f}% " if ceiling == ceiling else "| "
        if names:
            best = min(range(len(names)), key=lambda i: times[i + 1])
            row += f"| {names[best]} {times[best + 1] * 1e6:.1f} | **{times[best + 1] / times[0]:.2f}** "
        else:
            row += "| | "
        print(row + f"| {target} |", flush=True)
        if HAS_TORCH:
            torch.cuda.empty_cache()

    def ceilings(self):
        size = 1 << 20 if self.options.tiny else 2 << 30
        source, target = self.device.allocate(size), self.device.allocate(size)
        copy = self.device.record([lambda: self.device.copy(target, source, size)] * 4)
        self.copy_gb = 2 * size * 4 / self.seconds([copy])[0] / 1e9
        copy.destroy()
        self.device.release()
        if HAS_TORCH and not self.options.tiny:
            a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
            replay = self.torch_replay([lambda: a @ b] * 8)
            self.matrix_tflops = 2 * 8192**3 * 8 / self.seconds([replay])[0] / 1e12

    # ---- products ----

    def gemm(self, name, m, n, k, transpose_a=0, transpose_b=0, epilogue=sinter.NONE, dtype=BF16, gradient=False, target=""):
        device = self.device
        shape = sinter.GemmShape(1, m, n, k, transpose_a, transpose_b, m if transpose_a else k, k if transpose_b else n, n, 0,
                                 0, 0, dtype, F32 if gradient else dtype, epilogue, 0, 0)

        def ours(sets):
            workspace = device.ask("gemm_workspace", shape)
            calls = []
            for _ in range(sets):
                a, b = device.random(dtype, m * k), device.random(dtype, k * n)
                c, bias, aux = device.allocate(4 * m * n), device.random(dtype, n), None
                if epilogue in (sinter.BIAS_ACTIVATION, sinter.BIAS_RESIDUAL, sinter.ACTIVATION_BACKWARD):
                    aux = device.random(dtype, m * n)
                calls.append(lambda a=a, b=b, c=c, bias=bias, aux=aux: device.gemm(shape, None, a, b, c, bias, aux, workspace))
            return calls

        def theirs(sets):
            calls = []
            for _ in range(sets):
                a = torch.randn((k, m) if transpose_a else (m, k), device="cuda", dtype=torch.bfloat16)
                b = torch.randn((n, k) if transpose_b else (k, n), device="cuda", dtype=torch.bfloat16)
                left, right = a.t() if transpose_a else a, b.t() if transpose_b else b
                bias = torch.randn(n, device="cuda", dtype=torch.bfloat16)
                residual = torch.randn(m, n, device="cuda", dtype=torch.bfloat16)
                if epilogue == sinter.BIAS_ACTIVATION:
                    calls.append(lambda x=left, w=right, b=bias: torch.ops.aten._addmm_activation(b, x, w, use_gelu=True))
                elif epilogue == sinter.BIAS:
                    calls.append(lambda x=left, w=right, b=bias: torch.addmm(b, x, w))
                elif epilogue == sinter.BIAS_RESIDUAL:
                    calls.append(lambda x=left, w=right, b=bias, r=residual: torch.addmm(b, x, w).add_(r))
                else:
                    calls.append(lambda x=left, w=right: x @ w)
            return calls

        peers = {"cuBLASLt": theirs} if dtype == BF16 and epilogue != sinter.ACTIVATION_BACKWARD else {}
        size = 2 if dtype == BF16 else 4
        few = m <= 8
        self.case(f"gemm {name} {m}×{n}×{k}" + ("" if dtype == BF16 else " fp32"), k * n * size if few else 2 * m * n * k,
                  "GB/s" if few else "TFLOP/s", size * (m * k + k * n + m * n), ours, peers, target)

    def products(self):
        tiny = self.options.tiny
        for size in (64,) if tiny else (4096, 8192):
            self.gemm("square", size, size, size, target="≥ 1.00")
        w, rows, vocabulary = (32, 48, 100) if tiny else (768, 65536, 50304)
        layers = {"qkv": (3 * w, w), "attention output": (w, w), "up": (4 * w, w), "down": (w, 4 * w), "logits": (vocabulary, w)}
        for name, (out, inner) in layers.items():
            rows_now = rows if name != "logits" or tiny else rows // 4
            tied = 1 if name == "logits" else 0
            self.gemm(name, rows_now, out, inner, 0, tied, target="≥ 0.95")
            self.gemm(name + " dx", rows_now, inner, out, 0, 1 - tied, target="≥ 0.95")
            self.gemm(name + " dw", inner, out, rows_now, 1, 0, gradient=True, target="≥ 0.95")
        self.gemm("up, bias, GELU kept", rows, 4 * w, w, epilogue=sinter.BIAS_ACTIVATION, target="≥ 1.05")
        self.gemm("down, bias, residual", rows, w, 4 * w, epilogue=sinter.BIAS_RESIDUAL, target="≥ 1.05")
        self.gemm("dGELU", rows, 4 * w, w, 0, 1, epilogue=sinter.ACTIVATION_BACKWARD)
        self.gemm("fp32", rows // 16, 4 * w, w, dtype=F32)
        for few in (1, 8):
            self.gemm("decode up", few, 4 * w, w, epilogue=sinter.BIAS_ACTIVATION)
            self.gemm("decode logits", few, vocabulary, w, 0, 1)

    # ---- attention ----

    def attention(self, heads, size, length, target_forward, target_backward):
        device = self.device
        batch = max(1, (1 if self.options.tiny else 16384) // length)
        width = heads * size
        rows = batch * length
        shape = sinter.AttentionShape(batch, length, length, heads, heads, size, 3 * width, 3 * width, 3 * width, width, BF16, 1,
                                      0, None, 0, 0, sinter.RandomKey())
        pairs = batch * heads * length * (length + 1) / 2

        def tensors(sets):
            for _ in range(sets):
                qkv = device.random(BF16, 3 * rows * width)
                at = [type(qkv)(qkv.value + 2 * i * width) for i in range(3)]
                yield at, device.random(BF16, rows * width), device.allocate(4 * batch * heads * length)

        def forward(sets):
            return [lambda at=at, out=out, lse=lse: device.attention_forward(shape, *at, out, lse)
                    for at, out, lse in tensors(sets)]

        def backward(sets):
            workspace = device.ask("attention_backward_workspace", shape)
            calls = []
            for at, out, lse in tensors(sets):
                device.attention_forward(shape, *at, out, lse)
                dqkv, dout = device.allocate(6 * rows * width), device.random(BF16, rows * width)
                into = [type(dqkv)(dqkv.value + 2 * i * width) for i in range(3)]
                calls.append(lambda at=at, out=out, lse=lse, dout=dout, into=into: device.attention_backward(
                    shape, *at, out, lse, dout, *into, workspace))
            return calls

        def their(backend, gradient):
            def make(sets):
                calls = []
                for _ in range(sets):
                    q, k, v = (torch.randn(batch, length, heads, size, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
                               .requires_grad_(gradient) for _ in range(3))
                    if gradient:
                        with sdpa_kernel(backend):
                            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                        dout = torch.randn_like(out)
                        calls.append(lambda o=out, g=dout, i=(q, k, v): torch.autograd.grad(o, i, g, retain_graph=True))
                    else:
                        def call(q=q, k=k, v=v):
                            with sdpa_kernel(backend):
                                return F.scaled_dot_product_attention(q, k, v, is_causal=True)

                        calls.append(call)
                return calls

            return make

        backends = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION} if HAS_TORCH else {}
        name = f"hd{size} causal T {length}"
        self.case("attention_forward " + name, 4 * pairs * size, "TFLOP/s", 8 * rows * width, forward,
                  {peer: their(backend, False) for peer, backend in backends.items()}, target_forward)
        self.case("attention_backward " + name, 10 * pairs * size, "TFLOP/s", 16 * rows * width, backward,
                  {peer: their(backend, True) for peer, backend in backends.items()}, target_backward)

    def attentions(self):
        if self.options.tiny:
            self.attention(2, 64, 70, "", "")
            self.decode_attention(2, 2, 64, 96)
            return
        for length, forward, backward in ((1024, "≥ 1.05, 310", "≥ 1.15"), (2048, "≥ 1.05, 380", ""), (8192, "≥ 1.05, 460", "")):
            self.attention(12, 64, length, forward, backward)
        for length, forward, backward in ((1024, "≥ 1.00, 420", "210"), (2048, "", "370"), (4096, "≥ 1.00, 590", ""),
                                          (8192, "", "540"), (16384, "≥ 1.00, 670", "")):
            self.attention(16, 128, length, forward, backward)
        self.decode_attention(1, 12, 64, 1024)
        self.decode_attention(64, 12, 64, 1024)
        self.decode_attention(8, 32, 128, 8192)

    def decode_attention(self, batch, heads, size, capacity):
        device, width = self.device, heads * size
        shape = sinter.CacheShape(batch, 1, heads, heads, size, capacity, 3 * width, 3 * width, 3 * width, width, BF16, 0, 0)

        def ours(sets):
            lengths = device.write([capacity - 1] * batch)
            workspace = device.ask("attention_decode_workspace", shape)
            calls = []
            for _ in range(sets):
                keys, values = (device.random(BF16, batch * capacity * width) for _ in range(2))
                q, out = device.random(BF16, 3 * batch * width), device.allocate(2 * batch * width)
                calls.append(lambda k=keys, v=values, q=q, o=out: device.attention_decode(shape, lengths, q, None, None, k, v, o,
                                                                                        workspace))
            return calls

        size_bytes = 4 * batch * capacity * width
        self.case(f"attention_decode B {batch}, {heads}×{size}, {capacity} keys", size_bytes, "GB/s", size_bytes, ours,
                  target="≥ 85%")

    # ---- memory ----

    def streams(self):
        device, tiny = self.device, self.options.tiny
        rows, width, vocabulary, parameters = (9, 40, 100, 3000) if tiny else (65536, 768, 50257, 124439808)

        def layer_norm(sets):
            calls = []
            gain, bias = device.random(BF16, width), device.random(BF16, width)
            for _ in range(sets):
                x, residual = device.random(BF16, rows * width), device.random(BF16, rows * width)
                out, mean, rstd = device.allocate(2 * rows * width), device.allocate(4 * rows), device.allocate(4 * rows)
                calls.append(lambda x=x, r=residual, o=out, m=mean, s=rstd: device.layer_norm_forward(
                    Enum(BF16), rows, width, 1e-5, x, r, gain, bias, r, o, m, s))
            return calls

        def layer_norm_backward(sets):
            calls = []
            gain, dgain, dbias = device.random(BF16, width), device.allocate(4 * width), device.allocate(4 * width)
            workspace = device.ask("layer_norm_backward_workspace", rows, width)
            for _ in range(sets):
                s, dout, upper = (device.random(BF16, rows * width) for _ in range(3))
                mean, rstd = device.random(F32, rows), device.random(F32, rows)
                calls.append(lambda s=s, d=dout, u=upper, m=mean, r=rstd: device.layer_norm_backward(
                    Enum(BF16), rows, width, s, gain, m, r, d, u, Enum(0), u, dgain, dbias, workspace))
            return calls

        def their_norm(sets):
            norm = torch.nn.LayerNorm(width, device="cuda", dtype=torch.bfloat16)
            fused = torch.compile(lambda x, r: (x + r, norm(x + r)))
            return [lambda x=torch.randn(rows, width, device="cuda", dtype=torch.bfloat16),
                    r=torch.randn(rows, width, device="cuda", dtype=torch.bfloat16): fused(x, r) for _ in range(sets)]

        def classifier(sets):
            count = 4096 if not tiny else rows
            targets, losses = device.write([i * 7 % vocabulary for i in range(count)]), device.allocate(4 * count)
            return [lambda logits=device.random(BF16, count * vocabulary): device.cross_entropy(
                Enum(BF16), count, vocabulary, vocabulary, 0.0, logits, targets, None, 1e-3, losses) for _ in range(sets)]

        def their_classifier(sets):
            def loss(logits, targets):
                return F.cross_entropy(logits.float(), targets)

            compiled = torch.compile(lambda logits, targets: torch.func.grad_and_value(loss)(logits, targets))
            targets = torch.randint(0, vocabulary, (4096,), device="cuda")
            return [lambda l=torch.randn(4096, vocabulary, device="cuda", dtype=torch.bfloat16): compiled(l, targets)
                    for _ in range(sets)]

        def adamw(sets):
            gradient, m, v, master = (device.random(F32, parameters) for _ in range(4))
            copy, norm = device.allocate(2 * parameters), device.random(F32, 1)
            step = sinter.AdamwStep(1e-4, 0.9, 0.95, 1e-8, 0.1, 1, 1, 1)
            device.zero(v, 4 * parameters)
            return [lambda: device.adamw(step, parameters, gradient, norm, None, master, m, v, Enum(1), copy)]

        def their_adamw(sets):
            weights = torch.nn.Parameter(torch.randn(parameters, device="cuda"))
            weights.grad = torch.randn(parameters, device="cuda")
            optimizer = torch.optim.AdamW([weights], lr=1e-4, fused=True, capturable=True)
            return [optimizer.step]

        def norm(sets):
            gradient, out = device.random(F32, parameters), device.allocate(4)
            workspace = device.ask("reduce_workspace", parameters)
            return [lambda: device.global_norm(parameters, gradient, out, workspace)]

        classes = 4096 if not tiny else rows
        row_bytes = 2 * rows * width
        self.case(f"layer_norm_forward, residual {rows}×{width}", 4 * row_bytes, "GB/s", 3 * row_bytes, layer_norm,
                  {"torch.compile": their_norm}, "≥ 90%")
        self.case(f"layer_norm_backward {rows}×{width}", 4 * row_bytes, "GB/s", 3 * row_bytes, layer_norm_backward, target="≥ 80%")
        self.case(f"cross_entropy with gradient {classes}×{vocabulary}", 4 * classes * vocabulary, "GB/s",
                  2 * classes * vocabulary, classifier, {"torch.compile": their_classifier}, "≥ 1.3")
        self.case(f"adamw, bf16 copy rounded at random, {parameters} parameters", 30 * parameters, "GB/s", 1 << 40, adamw,
                  {"fused (28 of our 30 bytes)": their_adamw}, "≥ 1.05 per byte, 90%")
        self.case(f"global_norm {parameters}", 4 * parameters, "GB/s", 1 << 40, norm, target="≥ 90%")

    def run(self):
        self.ceilings()
        lines = [f"# CUDA operations beside PyTorch, {self.device.name}", "",
                 f"{datetime.date.today()}, {self.device.isa}, commit {self.options.commit}, "
                 + (f"PyTorch {torch.__version__}" if HAS_TORCH else "no PyTorch"), "",
                 f"Ceilings measured in this run: copy {self.copy_gb:.0f} GB/s (bytes read and written), cuBLASLt at 8192³ "
                 f"{self.matrix_tflops:.0f} TFLOP/s.", "",
                 "| operation | µs | rate | of the ceiling | peer µs | peer's time / ours | target |",
                 "|---|---|---|---|---|---|---|"]
        print("\n".join(lines), flush=True)
        self.products()
        self.attentions()
        self.streams()


def main():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("--library", required=True)
    parser.add_argument("--cuda", required=True)
    parser.add_argument("--only", default="", help="rows whose name begins with one of these")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--commit", default="unknown")
    options = parser.parse_args()
    Bench(sinter.Device(options.library, options.cuda), options).run()


if __name__ == "__main__":
    main()
