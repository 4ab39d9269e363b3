"""The error of what is fast: against fp64, beside PyTorch's in the same dtype on the same numbers."""
import ctypes
import math

import sinter
from attention import Attention
from measure import HAS_TORCH
from products import Products, shape_of, with_plan
from sinter import BF16

if HAS_TORCH:
    import torch
    import torch.nn.functional as F


class Accuracy:
    def __init__(self, bench):
        self.bench, self.device = bench, bench.device

    def tensor(self, address, *shape):
        """Device memory in bf16 as a tensor of PyTorch's."""
        memory = (ctypes.c_char * (2 * math.prod(shape)))()
        self.device.read(source=address, host=ctypes.addressof(memory), bytes=len(memory))
        return torch.frombuffer(memory, dtype=torch.bfloat16).reshape(shape).cuda()

    def compare(self, name, ours, theirs, reference):
        """Keeps both errors, each the norm of the difference over the reference's."""
        errors = [((value.double() - reference).norm() / reference.norm()).item() for value in (ours, theirs)]
        print(f"{name}: error {errors[0]:.3e}, PyTorch's {errors[1]:.3e}, ratio {errors[0] / errors[1]:.3f}", flush=True)
        self.bench.results.update("accuracy", **{name: dict(ours=errors[0], torch=errors[1])})

    def products(self):
        products = Products(self.bench)
        m, n, k = 2048, 3072, 768
        for what, epilogue in (("product", sinter.EPILOGUE_NONE), ("product, bias, GELU", sinter.EPILOGUE_BIAS_ACTIVATION)):
            shape = shape_of(m, n, k, epilogue=epilogue)
            operands = products.operands(shape)
            best, _ = products.tuner.best(self.device, shape, **operands)
            shape = with_plan(shape, best)
            self.device.gemm(shape=shape, workspace=self.device.workspace("gemm", shape=shape), **operands)
            a, b = self.tensor(operands["a"], m, k), self.tensor(operands["b"], k, n)
            bias, ours = self.tensor(operands["bias"], n), self.tensor(operands["c"], m, n)
            if epilogue == sinter.EPILOGUE_NONE:
                self.compare(what, ours, a @ b, a.double() @ b.double())
            else:
                gelu = lambda x: F.gelu(x, approximate="tanh")
                self.compare(what, ours, gelu(torch.addmm(bias, a, b)), gelu(torch.addmm(bias.double(), a.double(), b.double())))
            self.device.release()

    def attention(self, size):
        own, batch, heads, length = Attention(self.bench), 2, 4, 1024
        shape, width = own.shape(batch, length, heads, size, 1), heads * size
        (inputs, out, lse), = own.tensors(shape, 1)
        self.device.attention_forward(shape=shape, **inputs, out=out, lse=lse)
        dout, dqkv = self.device.random(BF16, batch * length * width), self.device.allocate(6 * batch * length * width)
        self.device.attention_backward(shape=shape, **inputs, out=out, lse=lse, dout=dout, dq=dqkv, dk=dqkv + 2 * width,
                                       dv=dqkv + 4 * width, workspace=self.device.workspace("attention_backward", shape=shape))
        split = lambda address: self.tensor(address, batch, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        heads_first = lambda address: self.tensor(address, batch, length, heads, size).transpose(1, 2)
        gradient = heads_first(dout)

        def run(dtype):
            q, k, v = (part.to(dtype).detach().requires_grad_() for part in split(inputs["q"]))
            if dtype == torch.bfloat16:
                result = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                scores = q @ k.transpose(-1, -2) / math.sqrt(size)
                hidden = torch.ones(length, length, dtype=torch.bool, device="cuda").triu(1)
                result = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
            return result, *torch.autograd.grad(result, (q, k, v), gradient.to(dtype))

        theirs, exact = run(torch.bfloat16), run(torch.float64)
        for name, mine, their, reference in zip(("", ", dq", ", dk", ", dv"), (heads_first(out), *split(dqkv)), theirs, exact):
            self.compare(f"attention hd{size}{name}", mine, their, reference.detach())
        self.device.release()

    def run(self):
        if not HAS_TORCH:
            print("no PyTorch with a GPU: nothing to compare with")
            return
        self.products()
        for size in (64, 128):
            self.attention(size)
