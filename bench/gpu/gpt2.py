"""GPT-2 made of this library's operations, one recording a step: what training and decoding cost without Java.

Training is bf16 with an fp32 master copy, no dropout; the steps are those of the Java side's graph without recomputation.
Decoding is of a frozen model: matrices packed as bf16, keys and values in pages, the next token chosen on the device.
"""
import dataclasses

import sinter
from products import shape_of, with_plan
from sinter import BF16, F32

CONTEXT, VOCABULARY = 1024, 50257


@dataclasses.dataclass(frozen=True)
class Sizes:
    layers: int
    heads: int
    width: int
    context: int = CONTEXT
    vocabulary: int = VOCABULARY

    @property
    def padded(self):
        """Columns of the logits: a multiple of 128."""
        return -(-self.vocabulary // 128) * 128

    def tensors(self, padded):
        """Parameters by name: how many, and whether they are a matrix, which decays."""
        w = self.width
        yield "wte", (self.padded if padded else self.vocabulary) * w, True
        yield "wpe", self.context * w, True
        for i in range(self.layers):
            for name, count, matrix in (("ln1.g", w, 0), ("ln1.b", w, 0), ("qkv", 3 * w * w, 1), ("qkv.b", 3 * w, 0),
                                        ("proj", w * w, 1), ("proj.b", w, 0), ("ln2.g", w, 0), ("ln2.b", w, 0),
                                        ("up", 4 * w * w, 1), ("up.b", 4 * w, 0), ("down", 4 * w * w, 1), ("down.b", w, 0)):
                yield f"{i}.{name}", count, bool(matrix)
        yield "lnf.g", w, False
        yield "lnf.b", w, False

    @property
    def parameters(self):
        return sum(count for _, count, _ in self.tensors(False))

    def training_flops(self, length):
        """Of a token: 6 for each parameter, and attention's as if there were no mask, as llm.c counts them."""
        return 6 * self.parameters + 6 * self.layers * self.width * length


MODELS = {"124M": Sizes(12, 12, 768), "350M": Sizes(24, 16, 1024), "1.5B": Sizes(48, 25, 1600)}
TINY = Sizes(2, 2, 64, 16, 100)


class Training:
    """`calls` are one step on a batch of its own; all memory is the device's until it is released."""

    def __init__(self, device, tuner, sizes, batch, length):
        self.device, self.tuner, self.sizes = device, tuner, sizes
        self.batch, self.length, self.rows = batch, length, batch * length
        self.calls = []
        self.lay_out()
        self.build()

    # ---- memory ----

    def lay_out(self):
        """Parameters, gradients and moments flat, each tensor from a multiple of 256."""
        self.offsets, decays, at = {}, [], 0
        for name, count, matrix in self.sizes.tensors(True):
            self.offsets[name] = at
            blocks = -(-count // 256)
            decays += [int(matrix)] * blocks
            at += 256 * blocks
        self.count = at
        device = self.device
        self.master, self.parameters = device.random(F32, at, 0.02), device.allocate(2 * at)
        self.gradients, self.m, self.v = (device.allocate(4 * at) for _ in range(3))
        decays += [0] * (-len(decays) % 4)
        words = [int.from_bytes(bytes(decays[i:i + 4]), "little") for i in range(0, len(decays), 4)]
        self.mask = device.write_ints(words)
        for name, count, _ in self.sizes.tensors(True):
            if name.endswith(".g"):
                device.write_floats(self.master + 4 * self.offsets[name], [1.0] * count)
            elif name.endswith(".b"):
                device.write_floats(self.master + 4 * self.offsets[name], [0.0] * count)
        device.cast(count=at, from_=F32, in_=self.master, to=BF16, out=self.parameters)

    def p(self, name):
        return self.parameters + 2 * self.offsets[name]

    def g(self, name):
        return self.gradients + 4 * self.offsets[name]

    def halves(self, columns):
        return self.device.allocate(2 * self.rows * columns)

    # ---- operations ----

    def do(self, operation, **arguments):
        function = getattr(self.device, operation)
        self.calls.append(lambda: function(**arguments))

    def product(self, shape, **operands):
        """The fastest of our own plans; the workspace is the largest that any product needs."""
        best, _ = self.tuner.best(self.device, shape, **operands) if self.tuner else (0, None)
        shape = with_plan(shape, best)
        self.do("gemm", shape=shape, workspace=self.device.workspace("gemm", shape=shape), **operands)

    def forward_product(self, x, name, n, k, out, epilogue, aux=None):
        self.product(shape_of(self.rows, n, k, epilogue=epilogue), a=x, b=self.p(name), c=out, bias=self.p(name + ".b"), aux=aux)

    def backward_product(self, x, dout, name, n, k, dx, aux=None):
        """Gradients of weight [k, n] and x [rows, k]; with aux, of what x is GELU of."""
        self.product(shape_of(k, n, self.rows, 1, 0, c_dtype=F32), a=x, b=dout, c=self.g(name))
        epilogue = sinter.EPILOGUE_ACTIVATION_BACKWARD if aux else sinter.EPILOGUE_NONE
        self.product(shape_of(self.rows, k, n, 0, 1, epilogue), a=dout, b=self.p(name), c=dx, aux=aux)

    def bias_backward(self, name, n, dout):
        self.do("bias_backward", dtype=BF16, rows=self.rows, columns=n, stride=n, dout=dout, dbias=self.g(name + ".b"))

    def norm(self, name, s):
        """Its output and statistics."""
        out, mean, rstd = self.halves(self.sizes.width), *(self.device.allocate(4 * self.rows) for _ in range(2))
        self.do("layer_norm_forward", dtype=BF16, rows=self.rows, width=self.sizes.width, epsilon=1e-5, x=s,
                gain=self.p(name + ".g"), bias=self.p(name + ".b"), out=out, mean=mean, rstd=rstd)
        return out, mean, rstd

    def norm_backward(self, name, s, mean, rstd, dout, dresidual, dx, added=None):
        """With the gradient of the bias that the product `added` put into s."""
        self.do("layer_norm_backward", dtype=BF16, rows=self.rows, width=self.sizes.width, s=s, gain=self.p(name + ".g"),
                mean=mean, rstd=rstd, dout=dout, dresidual=dresidual, dx=dx, dgain=self.g(name + ".g"),
                dbias=self.g(name + ".b"), dshift=self.g(added + ".b") if added else None, workspace=self.norm_workspace)

    def build(self):
        device, sizes, rows, w = self.device, self.sizes, self.rows, self.sizes.width
        vocabulary, padded = sizes.vocabulary, sizes.padded
        ids = [(i * i + 7 * i) % vocabulary for i in range(rows + 1)]
        tokens, targets = device.write_ints(ids[:-1]), device.write_ints(ids[1:])
        attention = sinter.attention_shape(batch=self.batch, queries=self.length, keys=self.length, heads=sizes.heads,
                                           kv_heads=sizes.heads, head_size=w // sizes.heads, q_stride=3 * w, k_stride=3 * w,
                                           v_stride=3 * w, out_stride=w, dtype=BF16, causal=1)
        self.norm_workspace = device.workspace("layer_norm_backward", rows=rows, width=w)
        attention_workspace = device.workspace("attention_backward", shape=attention)

        def split(qkv, prefix=""):
            return {prefix + name: qkv + 2 * i * w for i, name in enumerate("qkv")}

        s = self.halves(w)
        self.do("embedding_forward", dtype=BF16, batch=self.batch, length=self.length, width=w, vocabulary=padded,
                positions=sizes.context, scale=1.0, tokens=tokens, token_table=self.p("wte"), position_table=self.p("wpe"), out=s)
        kept = []
        for i in range(sizes.layers):
            h, *first = self.norm(f"{i}.ln1", s)
            qkv, attended, lse = self.halves(3 * w), self.halves(w), device.allocate(4 * rows * sizes.heads)
            self.forward_product(h, f"{i}.qkv", 3 * w, w, qkv, sinter.EPILOGUE_BIAS)
            self.do("attention_forward", shape=attention, **split(qkv), out=attended, lse=lse)
            middle = self.halves(w)
            self.forward_product(attended, f"{i}.proj", w, w, middle, sinter.EPILOGUE_BIAS_RESIDUAL, s)
            h2, *second = self.norm(f"{i}.ln2", middle)
            before, after, upper = self.halves(4 * w), self.halves(4 * w), self.halves(w)
            self.forward_product(h2, f"{i}.up", 4 * w, w, after, sinter.EPILOGUE_BIAS_ACTIVATION, before)
            self.forward_product(after, f"{i}.down", w, 4 * w, upper, sinter.EPILOGUE_BIAS_RESIDUAL, middle)
            kept.append((s, h, first, qkv, attended, lse, middle, h2, second, before, after))
            s = upper
        hidden, *last = self.norm("lnf", s)
        logits, self.losses = self.halves(padded), device.allocate(4 * rows)
        self.product(shape_of(rows, padded, w, 0, 1), a=hidden, b=self.p("wte"), c=logits)
        self.do("cross_entropy", dtype=BF16, rows=rows, vocabulary=vocabulary, stride=padded, logits=logits, targets=targets,
                gradient_scale=1 / rows, losses=self.losses)

        narrow, ds, wide = self.halves(w), self.halves(w), self.halves(4 * w)
        self.product(shape_of(padded, w, rows, 1, 0, c_dtype=F32), a=logits, b=hidden, c=self.g("wte"))
        self.product(shape_of(rows, w, padded), a=logits, b=self.p("wte"), c=narrow)
        self.norm_backward("lnf", s, *last, narrow, None, ds, f"{sizes.layers - 1}.down")
        for i, (s, h, first, qkv, attended, lse, middle, h2, second, before, after) in reversed(list(enumerate(kept))):
            self.backward_product(after, ds, f"{i}.down", w, 4 * w, wide, before)
            self.bias_backward(f"{i}.up", 4 * w, wide)
            self.backward_product(h2, wide, f"{i}.up", 4 * w, w, narrow)
            self.norm_backward(f"{i}.ln2", middle, *second, narrow, ds, ds, f"{i}.proj")
            self.backward_product(attended, ds, f"{i}.proj", w, w, narrow)
            self.do("attention_backward", shape=attention, **split(qkv), out=attended, lse=lse, dout=narrow, **split(wide, "d"),
                    workspace=attention_workspace)
            self.bias_backward(f"{i}.qkv", 3 * w, wide)
            self.backward_product(h, wide, f"{i}.qkv", 3 * w, w, narrow)
            self.norm_backward(f"{i}.ln1", s, *first, narrow, ds, ds, f"{i - 1}.down" if i else None)
        self.do("embedding_backward", dtype=BF16, batch=self.batch, length=self.length, width=w, vocabulary=padded,
                positions=sizes.context, scale=1.0, padding=-1, tokens=tokens, dout=ds, dtoken_table=self.g("wte"),
                dposition_table=self.g("wpe"),
                workspace=device.workspace("embedding_backward", batch=self.batch, length=self.length))
        norm = device.allocate(4)
        self.do("global_norm", count=self.count, x=self.gradients, out=norm,
                workspace=device.workspace("reduce", count=self.count))
        step = sinter.adamw_step(learning_rate=1e-4, beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip=1, step=1)
        self.do("adamw", step=step, count=self.count, gradient=self.gradients, norm=norm, decay_mask=self.mask,
                master=self.master, m=self.m, v=self.v, stochastic=1, parameters=self.parameters)

    def loss(self):
        return sum(self.device.floats(self.losses, self.rows)) / self.rows


FUSES = "sn_row_norm" in sinter.header.structures  # this library has what a step of few kernels needs


class Decoding:
    """`calls` are one token of each of `batch` sequences that hold `length` tokens already. `fused`: norms run within the products
    that they feed, appends within attention; else each in a call of its own."""

    def __init__(self, device, sizes, batch, length, fused=FUSES):
        self.device, self.sizes, self.batch, self.length, self.fused = device, sizes, batch, length, fused
        self.calls = []
        self.build()

    def do(self, operation, **arguments):
        function = getattr(self.device, operation)
        self.calls.append(lambda: function(**arguments))

    def floats(self, columns):
        return self.device.allocate(4 * self.batch * columns)

    def packed(self, inner, outer):
        weights = self.device.random(F32, inner * outer, 0.02)
        packed = self.device.allocate(self.device.pack_bytes(sinter.WEIGHT_BF16, inner, outer))
        self.device.pack(format=sinter.WEIGHT_BF16, dtype=F32, in_=inner, out=outer, weights=weights, packed=packed)
        self.device.free(weights)
        return packed

    def linear(self, x, packed, inner, outer, y, epilogue=0, aux=None, normed=None):
        """`normed`: x goes through a norm first, which writes it there."""
        shape = sinter.linear_shape(rows=self.batch, in_=inner, out=outer, x_stride=inner, y_stride=outer,
                                    format=sinter.WEIGHT_BF16, dtype=F32, y_dtype=F32, epilogue=epilogue)
        arguments = dict(bias=None if epilogue == sinter.EPILOGUE_NONE else self.device.random(F32, outer, 0.02), aux=aux)
        if normed and self.fused:
            arguments["norm"] = sinter.row_norm(gain=self.gain, bias=self.bias, out=normed, epsilon=1e-5)
        elif normed:
            self.do("layer_norm_forward", dtype=F32, rows=self.batch, width=inner, epsilon=1e-5, x=x, gain=self.gain,
                    bias=self.bias, out=normed)
            x = normed
        self.do("linear", shape=shape, x=x, packed=packed, y=y, workspace=self.device.workspace("linear", shape=shape),
                **arguments)

    def embed(self, tokens, table, x):
        w, form = self.sizes.width, dict(format=sinter.WEIGHT_BF16, dtype=F32)
        positions = self.device.random(F32, self.sizes.context * w, 0.02)
        if self.fused:
            self.do("packed_embedding", **form, batch=self.batch, length=1, width=w, vocabulary=self.sizes.vocabulary,
                    positions=self.sizes.context, scale=1.0, tokens=tokens,
                    offsets=self.device.write_ints([self.length] * self.batch), packed=table, position_table=positions, out=x)
            return
        self.do("packed_rows", **form, in_=w, out=self.sizes.vocabulary, count=self.batch, indices=tokens, packed=table, rows=x)
        self.do("add", dtype=F32, count=self.batch * w, a=x, b=self.device.random(F32, self.batch * w, 0.02), out=x)

    def attend(self, places, qkv, pages, attended, workspace):
        w = self.sizes.width
        new = dict(k=qkv + 4 * w, v=qkv + 8 * w)
        if not self.fused:
            self.do("paged_append", **places, **new, **pages)
            new = {}
        self.do("paged_attention", **places, q=qkv, **new, **pages, out=attended, workspace=workspace)

    def build(self):
        device, sizes, batch, w = self.device, self.sizes, self.batch, self.sizes.width
        page = min(16, sizes.context)
        each = -(-(self.length + 1) // page)
        paged = sinter.paged_shape(rows=batch, sequences=batch, heads=sizes.heads, kv_heads=sizes.heads,
                                   head_size=w // sizes.heads, pages=batch * each, page_size=page, table_stride=each,
                                   q_stride=3 * w, k_stride=3 * w, v_stride=3 * w, out_stride=w, dtype=F32, cache_dtype=BF16)
        places = dict(shape=paged, slots=device.write_ints(list(range(batch))),
                      positions=device.write_ints([self.length] * batch), tables=device.write_ints(list(range(batch * each))))
        workspace = device.workspace("paged_attention", shape=paged)
        self.gain, self.bias = device.random(F32, w), device.random(F32, w)
        x, h, qkv, attended, wide = (self.floats(columns) for columns in (w, w, 3 * w, w, 4 * w))
        table = self.packed(w, sizes.vocabulary)
        self.embed(device.write_ints([i % sizes.vocabulary for i in range(batch)]), table, x)
        for _ in range(sizes.layers):
            pages = {name: device.random(BF16, batch * each * page * w) for name in ("key_pages", "value_pages")}
            self.linear(x, self.packed(w, 3 * w), w, 3 * w, qkv, sinter.EPILOGUE_BIAS, normed=h)
            self.attend(places, qkv, pages, attended, workspace)
            self.linear(attended, self.packed(w, w), w, w, x, sinter.EPILOGUE_BIAS_RESIDUAL, x)
            self.linear(x, self.packed(w, 4 * w), w, 4 * w, wide, sinter.EPILOGUE_BIAS_ACTIVATION, normed=h)
            self.linear(wide, self.packed(4 * w, w), 4 * w, w, x, sinter.EPILOGUE_BIAS_RESIDUAL, x)
        logits = self.floats(sizes.vocabulary)
        self.linear(x, table, w, sizes.vocabulary, logits, normed=h)
        greedy = sinter.sampling(seed=1, repetition_penalty=1.0, top_p=1.0)
        self.do("sample", dtype=F32, rows=batch, vocabulary=sizes.vocabulary, stride=sizes.vocabulary, logits=logits,
                samplings=device.write_bytes(bytes(greedy) * batch), tokens=device.allocate(4 * batch),
                workspace=device.workspace("sample", rows=batch, vocabulary=sizes.vocabulary))

    @property
    def bytes(self):
        """What a step must read: all matrices once, and the keys and values of every sequence."""
        w = self.sizes.width
        matrices = 2 * (12 * self.sizes.layers * w * w + self.sizes.vocabulary * w)
        return matrices + 4 * self.sizes.layers * self.batch * (self.length + 1) * w
