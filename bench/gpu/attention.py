"""Attention beside the best of PyTorch's flash and cuDNN backends: forward, backward and over a cache."""
import sinter
from measure import HAS_TORCH
from sinter import BF16

if HAS_TORCH:
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

TOKENS = 16384
FORWARD = {64: (1024, 2048, 8192), 128: (1024, 4096, 16384)}
BACKWARD = {64: (1024, 2048, 8192), 128: (1024, 2048, 8192)}
DECODE = ((1, 12, 64, 1024), (64, 12, 64, 1024), (8, 32, 128, 8192))  # batch, heads, head size, keys


class Attention:
    def __init__(self, bench):
        self.bench, self.device = bench, bench.device

    def shape(self, batch, length, heads, size, causal):
        width = heads * size
        return sinter.attention_shape(batch=batch, queries=length, keys=length, heads=heads, kv_heads=heads, head_size=size,
                                      q_stride=3 * width, k_stride=3 * width, v_stride=3 * width, out_stride=width, dtype=BF16,
                                      causal=causal)

    def tensors(self, shape, sets):
        """Queries, keys and values as columns of one matrix, and what the forward pass writes."""
        rows, width = shape.batch * shape.queries, shape.heads * shape.head_size
        for _ in range(sets):
            qkv = self.device.random(BF16, 3 * rows * width)
            yield dict(q=qkv, k=qkv + 2 * width, v=qkv + 4 * width), self.device.allocate(2 * rows * width), self.device.allocate(
                4 * shape.heads * rows)

    def forward(self, shape):
        return lambda sets: [
            lambda inputs=inputs, out=out, lse=lse: self.device.attention_forward(shape=shape, **inputs, out=out, lse=lse)
            for inputs, out, lse in self.tensors(shape, sets)]

    def backward(self, shape):
        rows, width = shape.batch * shape.queries, shape.heads * shape.head_size

        def ours(sets):
            workspace = self.device.workspace("attention_backward", shape=shape)
            calls = []
            for inputs, out, lse in self.tensors(shape, sets):
                self.device.attention_forward(shape=shape, **inputs, out=out, lse=lse)
                dqkv, dout = self.device.allocate(6 * rows * width), self.device.random(BF16, rows * width)
                calls.append(lambda inputs=inputs, out=out, lse=lse, dout=dout, dqkv=dqkv: self.device.attention_backward(
                    shape=shape, **inputs, out=out, lse=lse, dout=dout, dq=dqkv, dk=dqkv + 2 * width, dv=dqkv + 4 * width,
                    workspace=workspace))
            return calls

        return ours

    def their(self, shape, backend, gradient, deterministic=False):
        """A replay of PyTorch's: queries, keys and values as its own models have them."""
        def qkv():
            return (torch.randn(shape.batch, shape.queries, shape.heads, shape.head_size, device="cuda",
                                dtype=torch.bfloat16).transpose(1, 2).requires_grad_(gradient) for _ in range(3))

        def attend(q, k, v):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=bool(shape.causal))

        def make(sets):
            if not gradient:
                return [lambda i=tuple(qkv()): attend(*i) for _ in range(sets)]
            calls = []
            for _ in range(sets):
                inputs = tuple(qkv())
                out = attend(*inputs)
                dout = torch.randn_like(out)

                def call(out=out, inputs=inputs, dout=dout):
                    torch.use_deterministic_algorithms(deterministic, warn_only=True)
                    torch.autograd.grad(out, inputs, dout, retain_graph=True)
                    torch.use_deterministic_algorithms(False)

                calls.append(call)
            return calls

        return make

    def backends(self, shape, gradient):
        if not HAS_TORCH:
            return {}
        return {name: self.their(shape, backend, gradient) for name, backend in
                (("cuDNN", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION))}

    def case(self, what, heads, size, length, causal=1):
        tiny = self.bench.tiny
        batch = 1 if tiny else max(1, TOKENS // length)
        queries, heads = (70, 2) if tiny else (length, heads)
        shape = self.shape(batch, queries, heads, size, causal)
        pairs = batch * heads * queries * ((queries + 1) / 2 if causal else queries)
        tensor = 2 * batch * queries * heads * size  # bytes of q, say
        name = f"{what} hd{size} {'causal' if causal else 'full'} {length}"
        if what == "attention":
            self.bench.case(name, "matrix", 4 * pairs * size, 4 * tensor, 4 * tensor, self.forward(shape),
                            self.backends(shape, False))
            return
        peers = self.backends(shape, True)
        if HAS_TORCH:
            peers["flash, deterministic"] = self.their(shape, SDPBackend.FLASH_ATTENTION, True, True)
        self.bench.case(name, "matrix", 10 * pairs * size, 8 * tensor, 8 * tensor, self.backward(shape), peers)

    def decode(self, batch, heads, size, keys):
        device, tiny = self.device, self.bench.tiny
        name = f"decode attention {batch}×{heads}×{size}, {keys} keys"
        if tiny:
            batch, heads, keys = 2, 2, 96
        width = heads * size
        shape = sinter.cache_shape(batch=batch, queries=1, heads=heads, kv_heads=heads, head_size=size, capacity=keys,
                                   q_stride=3 * width, k_stride=3 * width, v_stride=3 * width, out_stride=width, dtype=BF16)

        def ours(sets):
            lengths = device.write_ints([keys - 1] * batch)
            workspace = device.workspace("attention_decode", shape=shape)
            calls = []
            for _ in range(sets):
                cache = dict(key_cache=device.random(BF16, batch * keys * width),
                             value_cache=device.random(BF16, batch * keys * width))
                q, out = device.random(BF16, 3 * batch * width), device.allocate(2 * batch * width)
                calls.append(lambda cache=cache, q=q, out=out: device.attention_decode(
                    shape=shape, lengths=lengths, q=q, **cache, out=out, workspace=workspace))
            return calls

        def their(backend):
            def make(sets):
                calls = []
                for _ in range(sets):
                    q = torch.randn(batch, heads, 1, size, device="cuda", dtype=torch.bfloat16)
                    k, v = (torch.randn(batch, heads, keys, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))

                    def call(q=q, k=k, v=v):
                        with sdpa_kernel(backend):
                            F.scaled_dot_product_attention(q, k, v)

                    calls.append(call)
                return calls

            return make

        peers = {"cuDNN": their(SDPBackend.CUDNN_ATTENTION), "flash": their(SDPBackend.FLASH_ATTENTION)} if HAS_TORCH else {}
        read = 4 * batch * keys * width
        self.bench.case(name, "memory", read, read, read, ours, peers)

    def run(self):
        for what, table in (("attention", FORWARD), ("attention backward", BACKWARD)):
            for size, lengths in table.items():
                for length in lengths[:1] if self.bench.tiny else lengths:
                    self.case(what, 12 if size == 64 else 16, size, length)
        self.case("attention", 12, 64, 1024, causal=0)

    def run_decode(self):
        for sizes in DECODE[:1] if self.bench.tiny else DECODE:
            self.decode(*sizes)
