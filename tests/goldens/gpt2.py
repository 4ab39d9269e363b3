#!/usr/bin/env python3
"""Makes the golden files of GptGoldenTest: a small GPT-2 in Hugging Face layout, and what transformers computes with it in
double precision: logits, loss, the gradient of every parameter, and the losses of ten steps of AdamW.

    python3 tests/goldens/gpt2.py                 (needs torch, transformers, safetensors)
    python3 tests/goldens/gpt2.py --open FOLDER   loads a folder that Sinter saved and prints the loss of a fixed text
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/model/gpt2"
BATCH, LENGTH = 3, 19


def open_folder(folder):
    model, report = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    tokens = torch.arange(24).remainder(model.config.vocab_size)[None, :model.config.n_positions]
    print(f"{model(tokens, labels=tokens).loss.item():.6f}")


def main():
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=67, n_positions=23, n_embd=36, n_layer=2, n_head=3, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0, bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Nothing at the values of a fresh model, where mistakes in gains and biases hide.
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink(missing_ok=True)

    model = model.double()
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(0, 67, (BATCH, LENGTH + 1), generator=generator)
    tokens, targets = text[:, :-1], text[:, 1:]

    def loss_of():
        logits = model(tokens).logits
        return logits, torch.nn.functional.cross_entropy(logits.reshape(-1, 67), targets.reshape(-1))

    logits, loss = loss_of()
    loss.backward()
    golden = {"tokens": tokens.int().contiguous(), "targets": targets.int().contiguous(),
              "logits": logits.detach().float().contiguous()}
    for name, parameter in model.named_parameters():
        golden["gradient/" + name] = parameter.grad.float().contiguous()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()

    decayed = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        _, loss = loss_of()
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    save_file(golden, FOLDER / "golden.safetensors")
    (FOLDER / "golden.json").write_text(json.dumps({"norm": norm, "losses": losses}) + "\n")


if __name__ == "__main__":
    open_folder(sys.argv[2]) if sys.argv[1:2] == ["--open"] else main()
