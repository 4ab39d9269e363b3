"""What memory decides: norms, the classifier, AdamW, the global norm, each beside PyTorch's fused or compiled form."""
import sinter
from measure import HAS_TORCH
from sinter import BF16, F32

if HAS_TORCH:
    import torch
    import torch.nn.functional as F

HUGE = 1 << 40  # bytes of a case whose one set of buffers exceeds the second-level cache by far


class Streams:
    def __init__(self, bench):
        self.bench, self.device = bench, bench.device
        self.rows, self.width, self.vocabulary, self.parameters = ((9, 40, 100, 3000) if bench.tiny else
                                                                   (65536, 768, 50257, 124439808))

    def norms(self):
        device, rows, width = self.device, self.rows, self.width

        def forward(sets):
            gain, bias = device.random(BF16, width), device.random(BF16, width)
            mean, rstd = device.allocate(4 * rows), device.allocate(4 * rows)
            calls = []
            for _ in range(sets):
                x, residual = device.random(BF16, rows * width), device.random(BF16, rows * width)
                out = device.allocate(2 * rows * width)
                calls.append(lambda x=x, residual=residual, out=out: device.layer_norm_forward(
                    dtype=BF16, rows=rows, width=width, epsilon=1e-5, x=x, residual=residual, gain=gain, bias=bias, sum=residual,
                    out=out, mean=mean, rstd=rstd))
            return calls

        def backward(sets):
            gain, dgain, dbias = device.random(BF16, width), device.allocate(4 * width), device.allocate(4 * width)
            mean, rstd = device.random(F32, rows), device.random(F32, rows)
            workspace = device.workspace("layer_norm_backward", rows=rows, width=width)
            calls = []
            for _ in range(sets):
                s, dout, upper = (device.random(BF16, rows * width) for _ in range(3))
                calls.append(lambda s=s, dout=dout, upper=upper: device.layer_norm_backward(
                    dtype=BF16, rows=rows, width=width, s=s, gain=gain, mean=mean, rstd=rstd, dout=dout, dresidual=upper,
                    dx=upper, dgain=dgain, dbias=dbias, workspace=workspace))
            return calls

        def theirs(gradient):
            def make(sets):
                norm = torch.nn.LayerNorm(width, device="cuda", dtype=torch.bfloat16)

                def fused(x, residual):
                    s = x + residual
                    return s, norm(s)

                compiled = torch.compile(fused)
                pair = lambda: tuple(torch.randn(rows, width, device="cuda", dtype=torch.bfloat16) for _ in range(2))
                if not gradient:
                    return [lambda inputs=pair(): compiled(*inputs) for _ in range(sets)]
                calls = []
                for _ in range(sets):
                    x, residual = (tensor.requires_grad_() for tensor in pair())
                    outputs = compiled(x, residual)
                    calls.append(lambda i=(x, *norm.parameters()), o=outputs, g=pair(): torch.autograd.grad(
                        o, i, g, retain_graph=True))
                return calls

            return make

        size = 2 * rows * width
        self.bench.case("layer norm, residual", "memory", 8 * rows * width, 4 * size, 3 * size, forward,
                        {"torch.compile": theirs(False)})
        self.bench.case("layer norm, residual, backward", "memory", 14 * rows * width, 4 * size, 3 * size, backward,
                        {"torch.compile": theirs(True)})

    def classifier(self):
        device, vocabulary = self.device, self.vocabulary
        count = self.rows if self.bench.tiny else 8192

        def ours(sets):
            targets, losses = device.write_ints([i * 7 % vocabulary for i in range(count)]), device.allocate(4 * count)
            return [lambda logits=device.random(BF16, count * vocabulary): device.cross_entropy(
                dtype=BF16, rows=count, vocabulary=vocabulary, stride=vocabulary, logits=logits, targets=targets,
                gradient_scale=1 / count, losses=losses) for _ in range(sets)]

        def theirs(sets):
            loss = torch.compile(lambda logits, targets: F.cross_entropy(logits.float(), targets))
            targets = torch.randint(0, vocabulary, (count,), device="cuda")
            inputs = [torch.randn(count, vocabulary, device="cuda", dtype=torch.bfloat16).requires_grad_() for _ in range(sets)]
            return [lambda logits=logits: torch.autograd.grad(loss(logits, targets), logits) for logits in inputs]

        self.bench.case("classifier with gradient", "memory", 6 * count * vocabulary, 4 * count * vocabulary,
                        2 * count * vocabulary, ours, {"torch.compile": theirs})

    def optimizer(self):
        device, count = self.device, self.parameters

        def adamw(_):
            gradient, m, v, master = (device.random(F32, count) for _ in range(4))
            device.zero(destination=v, bytes=4 * count)
            copy, norm = device.allocate(2 * count), device.random(F32, 1)
            step = sinter.adamw_step(learning_rate=1e-4, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip=1, step=1)
            return [lambda: device.adamw(step=step, count=count, gradient=gradient, norm=norm, master=master, m=m, v=v,
                                         stochastic=1, parameters=copy)]

        def fused(_):
            weights = torch.nn.Parameter(torch.randn(count, device="cuda"))
            weights.grad = torch.randn(count, device="cuda")
            return [torch.optim.AdamW([weights], lr=1e-4, fused=True, capturable=True).step]

        def norm(_):
            gradient, out = device.random(F32, count), device.allocate(4)
            workspace = device.workspace("reduce", count=count)
            return [lambda: device.global_norm(count=count, x=gradient, out=out, workspace=workspace)]

        def their_norm(_):
            gradient = torch.randn(count, device="cuda")
            return [lambda: torch.linalg.vector_norm(gradient)]

        # Ours reads gradient, moments and master, and writes the latter three and a bf16 copy: 30 bytes; theirs has no copy.
        self.bench.case("adamw", "memory", 15 * count, 30 * count, HUGE, adamw, {"fused": fused}, peer_bytes=28 * count)
        self.bench.case("global norm", "memory", 2 * count, 4 * count, HUGE, norm, {"PyTorch": their_norm})

    def run(self):
        self.norms()
        self.classifier()
        self.optimizer()
