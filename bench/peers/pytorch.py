"""GPT-2 in PyTorch, as one would write it for speed: the peer that bench/peers/compare.py runs beside ./sinter bench.

    python bench/peers/pytorch.py pp512|tg32|train4x64|lora4x256|shakespeare [--dtype fp32|bf16] [--data FILE]

Prints one number: tokens per second, or for `shakespeare` seconds and the validation loss. `lora` trains PEFT's LoRA of
rank 8 on the queries, keys and values, as ./sinter bench --lora 8 does.
"""
import argparse
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, width, heads, dropout=0.0):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, cache):
        b, t, c = x.shape
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2) for p in self.qkv(self.ln_1(x)).split(c, 2))
        causal = t > 1
        if cache is not None:
            keys, values, at = cache
            keys[:, :, at:at + t], values[:, :, at:at + t] = k, v
            k, v = keys[:, :, :at + t], values[:, :, :at + t]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, heads, width, context, vocabulary):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deviation = 0.02 * math.sqrt(768 / width)
                nn.init.normal_(p, std=deviation / (math.sqrt(2 * layers) if "proj" in name or "down" in name else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, tokens, targets=None, caches=None, at=0):
        x = self.wte(tokens) + self.wpe(torch.arange(at, at + tokens.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, None if caches is None else (*caches[i], at))
        if targets is None:
            return self.ln_f(x[:, -1]) @ self.wte.weight.T
        logits = self.ln_f(x) @ self.wte.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def adamw(model, lr, betas=(0.9, 0.95)):
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() == 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, fused=True)


def rate(run, tokens, runs=3):
    run()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return tokens / statistics.median(seconds)


def train(model, batch, length, bf16):
    optimizer = adamw(model, 1e-4)

    def step():
        tokens = torch.randint(0, 50257, (batch, length + 1))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return rate(step, batch * length)


@torch.inference_mode()
def decode(model, dtype, prompt, count):
    caches = [tuple(torch.zeros(1, 12, 1024, 64, dtype=dtype) for _ in range(2)) for _ in range(12)]
    tokens = torch.randint(0, 50257, (1, max(prompt, 1)))
    if prompt:
        return rate(lambda: model(tokens, caches=caches), prompt)

    def run():
        token = tokens
        for i in range(count):
            token = model(token, caches=caches, at=i).argmax(-1, keepdim=True)

    return rate(run, count)


def shakespeare(path):
    text = open(path, encoding="utf-8").read()
    ids = {c: i for i, c in enumerate(sorted(set(text)))}
    data = torch.tensor([ids[c] for c in text])
    cut = int(0.9 * len(data))
    train_data, valid_data = data[:cut], data[cut:]
    started = time.perf_counter()
    model = Gpt(4, 4, 128, 64, len(ids))
    optimizer = adamw(model, 1e-3, (0.9, 0.99))

    @torch.no_grad()
    def validation():
        count = (len(valid_data) - 1) // 64
        x, y = valid_data[:count * 64].view(-1, 64), valid_data[1:count * 64 + 1].view(-1, 64)
        return sum(model(a, b).item() * len(a) for a, b in zip(x.split(64), y.split(64))) / count

    for step in range(2000):
        if step % 250 == 0:
            validation()
        warm, done = min(1, (step + 1) / 100), max(0, (step - 100) / 1900)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * warm if step < 100 else 1e-4 + 0.45e-3 * (1 + math.cos(math.pi * done))
        at = torch.randint(len(train_data) - 64, (12,))
        batch = torch.stack([train_data[i:i + 65] for i in at])
        loss = model(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    last = validation()
    return f"{time.perf_counter() - started:.1f} {last:.4f}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--data")
    parser.add_argument("--seed", type=int, default=1337)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(options.seed)
    if options.what == "shakespeare":
        print(shakespeare(options.data))
        return
    model = Gpt(12, 12, 768, 1024, 50257)
    bf16 = options.dtype == "bf16"
    if options.what.startswith("lora"):
        import peft
        model = peft.inject_adapter_in_model(peft.LoraConfig(r=8, lora_alpha=8, target_modules=["qkv"]), model)
        batch, length = map(int, options.what[4:].split("x"))
        print(f"{train(model, batch, length, bf16):.1f}")
        return
    if options.what.startswith("train"):
        batch, length = map(int, options.what[5:].split("x"))
        print(f"{train(model, batch, length, bf16):.1f}")
        return
    dtype = torch.bfloat16 if bf16 else torch.float32
    model = model.to(dtype)
    count = int(options.what[2:])
    is_prefill = options.what.startswith("pp")
    print(f"{decode(model, dtype, count if is_prefill else 0, count):.1f}")


if __name__ == "__main__":
    sys.exit(main())
