"""GPT-2 in PyTorch for a GPU, as one writes it for speed: training compiled, under autocast to bf16 with fp32 weights and the
fused AdamW; decoding compiled, in bf16, over a cache of fixed size, one CUDA graph a token."""
import torch
import torch.nn.functional as F
from torch import nn

WHOLE = 24  # of models with more layers each layer is compiled, once for all: as a whole they would take minutes


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, cache=None):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(c, 2))
        if cache is not None:
            keys, values = cache
            keys[:, :, -1:], values[:, :, -1:] = k, v
            k, v = keys, values
        y = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(sizes.padded, sizes.width), nn.Embedding(sizes.context, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.heads) for _ in range(sizes.layers))
        self.ln_f = nn.LayerNorm(sizes.width)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets=None, caches=None, at=0):
        x = self.wte(tokens) + self.wpe(torch.arange(at, at + tokens.shape[1], device=tokens.device))
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else caches[i])
        logits = self.ln_f(x) @ self.wte.weight.T
        if targets is None:
            return logits[:, -1].argmax(-1)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def compiled(model):
    if len(model.blocks) <= WHOLE:
        return torch.compile(model)
    for block in model.blocks:
        block.compile()
    return model


def training(sizes, batch, length):
    """One step on a batch of its own, as a call."""
    torch.set_float32_matmul_precision("high")
    with torch.device("cuda"):
        model = Gpt(sizes)
        ids = torch.randint(sizes.vocabulary, (batch, length + 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    loss_of = compiled(model)
    tokens, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss = loss_of(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@torch.no_grad()
def decoding(sizes, batch, length):
    """One greedy token of each sequence behind `length` others, as a call."""
    with torch.device("cuda"):
        model = Gpt(sizes).to(torch.bfloat16)
        shape = (batch, sizes.heads, length + 1, sizes.width // sizes.heads)
        caches = [tuple(torch.randn(shape, dtype=torch.bfloat16) for _ in range(2)) for _ in model.blocks]
        tokens = torch.randint(sizes.vocabulary, (batch, 1))
    step = compiled(model)

    def call():
        with torch.no_grad():
            return step(tokens, caches=caches, at=length)

    return call
