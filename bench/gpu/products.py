"""Matrix products beside cuBLASLt's best: squares, GPT-2's layers forward and backward, the fused epilogues."""
import plans
import sinter
from measure import HAS_TORCH
from sinter import BF16, F32

if HAS_TORCH:
    import torch

ROWS, WIDTH, VOCABULARY = 65536, 768, 50304
LAYERS = {"qkv": (3 * WIDTH, WIDTH), "attention output": (WIDTH, WIDTH), "up": (4 * WIDTH, WIDTH), "down": (WIDTH, 4 * WIDTH),
          "logits": (VOCABULARY, WIDTH)}


def shape_of(m, n, k, transpose_a=0, transpose_b=0, epilogue=0, dtype=BF16, c_dtype=None):
    return sinter.gemm_shape(batch=1, m=m, n=n, k=k, transpose_a=transpose_a, transpose_b=transpose_b,
                             a_stride=m if transpose_a else k, b_stride=k if transpose_b else n, c_stride=n, dtype=dtype,
                             c_dtype=dtype if c_dtype is None else c_dtype, epilogue=epilogue)


def with_plan(shape, code):
    own = type(shape).from_buffer_copy(shape)
    own.plan = code
    return own


class Products:
    def __init__(self, bench):
        self.bench, self.device, self.tuner = bench, bench.device, plans.Tuner(bench)

    def operands(self, shape):
        """Of one call, but for plan and workspace."""
        device, (m, n, k) = self.device, (shape.m, shape.n, shape.k)
        aux = shape.epilogue in (sinter.EPILOGUE_BIAS_ACTIVATION, sinter.EPILOGUE_BIAS_RESIDUAL,
                                 sinter.EPILOGUE_ACTIVATION_BACKWARD)
        return dict(a=device.random(shape.dtype, m * k), b=device.random(shape.dtype, k * n),
                    c=device.allocate((4 if shape.c_dtype == F32 else 2) * m * n), bias=device.random(shape.dtype, n),
                    aux=device.random(shape.dtype, m * n) if aux else None)

    def calls(self, shape, code, operands):
        own = with_plan(shape, code)
        workspace = self.device.workspace("gemm", shape=own)
        return [lambda o=o: self.device.gemm(shape=own, workspace=workspace, **o) for o in operands]

    def torch_calls(self, shape, sets):
        """PyTorch's own call of the shape, fused where it is; dGELU has none."""
        m, n, k = shape.m, shape.n, shape.k
        calls = []
        for _ in range(sets):
            a = torch.randn((k, m) if shape.transpose_a else (m, k), device="cuda", dtype=torch.bfloat16)
            b = torch.randn((n, k) if shape.transpose_b else (k, n), device="cuda", dtype=torch.bfloat16)
            x, w = a.t() if shape.transpose_a else a, b.t() if shape.transpose_b else b
            bias = torch.randn(n, device="cuda", dtype=torch.bfloat16)
            if shape.epilogue == sinter.EPILOGUE_BIAS_ACTIVATION:
                calls.append(lambda x=x, w=w, b=bias: torch.ops.aten._addmm_activation(b, x, w, use_gelu=True))
            elif shape.epilogue == sinter.EPILOGUE_BIAS:
                calls.append(lambda x=x, w=w, b=bias: torch.addmm(b, x, w))
            elif shape.epilogue == sinter.EPILOGUE_BIAS_RESIDUAL:
                residual = torch.randn(m, n, device="cuda", dtype=torch.bfloat16)
                calls.append(lambda x=x, w=w, b=bias, r=residual: torch.addmm(b, x, w).add_(r))
            else:
                calls.append(lambda x=x, w=w: x @ w)
        return calls

    def case(self, name, shape):
        bench, kept = self.bench, []
        element = 2 if shape.dtype == BF16 else 4
        size = element * (shape.m * shape.k + shape.k * shape.n) + (4 if shape.c_dtype == F32 else 2) * shape.m * shape.n

        def ours(sets):
            kept.extend(self.operands(shape) for _ in range(sets))
            best, _ = self.tuner.best(self.device, shape, **kept[0])
            return {plans.describe(best): self.calls(shape, best, kept), "the model's choice": self.calls(shape, 0, kept)}

        def own_peers(_):
            _, theirs = self.tuner.best(self.device, shape, **kept[0])
            return {plans.describe(theirs): self.calls(shape, theirs, kept)} if theirs else {}

        peers = {}
        if shape.dtype == BF16 and shape.epilogue != sinter.EPILOGUE_ACTIVATION_BACKWARD:
            peers["PyTorch"] = lambda sets: self.torch_calls(shape, sets)
        few = shape.m <= 8
        if few:
            size = element * shape.k * shape.n
        bound = "memory" if few else "matrix" if shape.dtype == BF16 else "floats"
        bench.case(name, bound, 2 * shape.m * shape.n * shape.k, size, size, ours, peers, own_peers,
                   shape=f"{shape.m}×{shape.n}×{shape.k}")

    def run(self):
        tiny = self.bench.tiny
        rows, scale = (40, 12) if tiny else (ROWS, 1)
        for size in (4096, 8192):
            side = 64 if tiny else size
            self.case(f"gemm {size}³", shape_of(side, side, side))
        for layer, (out, inner) in LAYERS.items():
            out, inner = out // scale // (32 if tiny and layer == "logits" else 1), inner // scale
            tied = 1 if layer == "logits" else 0
            self.case(f"gpt2 {layer}", shape_of(rows, out, inner, 0, tied))
            self.case(f"gpt2 {layer} dx", shape_of(rows, inner, out, 0, 1 - tied))
            m, n = (out, inner) if tied else (inner, out)
            self.case(f"gpt2 {layer} dw", shape_of(m, n, rows, 1, 0, c_dtype=F32))
        wide, width = 4 * WIDTH // scale, WIDTH // scale
        self.case("fused bias, GELU kept", shape_of(rows, wide, width, epilogue=sinter.EPILOGUE_BIAS_ACTIVATION))
        self.case("fused dGELU", shape_of(rows, wide, width, 0, 1, sinter.EPILOGUE_ACTIVATION_BACKWARD))
        self.case("fused bias, residual", shape_of(rows, width, wide, epilogue=sinter.EPILOGUE_BIAS_RESIDUAL))
        self.case("fp32", shape_of(rows // 16, wide, width, dtype=F32))
        for few in (1, 8):
            self.case(f"decode up, {few} rows", shape_of(few, wide, width, epilogue=sinter.EPILOGUE_BIAS_ACTIVATION))
            self.case(f"decode logits, {few} rows", shape_of(few, VOCABULARY // (scale * 32 if tiny else 1), width, 0, 1))
