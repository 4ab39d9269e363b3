#!/usr/bin/env python3
"""Makes the golden files of FinetuneGoldenTest: ten steps of fine-tuning a tiny BERT and a tiny GPT-2, as transformers and
torch take them in double precision: AdamW without decay of biases and norms, gradients clipped, a rate that falls to 0.

    python3 tests/goldens/finetune.py                 (needs torch, transformers, safetensors)
"""
# The models of families.py; importing it takes this folder, with its tokenizers.py, off the path.
import families

import json
import pathlib
import shutil

import torch
import transformers

FOLDER = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/finetune"
STEPS, BATCH, LENGTH, LABELS = 10, 4, 11, 3
RATE, DECAY, CLIP = 5e-3, 0.1, 1.0


def model_of(make, config, generator):
    """A tiny model, nothing in it at the values of a fresh one, that both sides start from."""
    model = make(config).double()
    families.disturb(model, generator)
    return model


def batches(generator, labels_of, different=2):
    """Batches of ten steps, two in turn so that they are learned: sequences of different lengths, zeros, which are no token
    of theirs, behind their ends."""
    made = []
    for _ in range(different):
        lengths = torch.randint(2, LENGTH + 1, (BATCH,), generator=generator)
        lengths[0] = LENGTH
        real = torch.arange(LENGTH)[None] < lengths[:, None]
        tokens = torch.randint(1, families.VOCABULARY, (BATCH, LENGTH), generator=generator).masked_fill(~real, 0)
        segments = torch.randint(0, 2, (BATCH, LENGTH), generator=generator)
        made.append({"tokens": tokens, "segments": segments, "lengths": lengths, "labels": labels_of(real)})
    return [made[i % different] for i in range(STEPS)]


def train(model, data, parameters=None, bert=True):
    """The loss before each step."""
    named = list(parameters or model.named_parameters())
    matrices = [p for _, p in named if p.ndim > 1]
    others = [p for _, p in named if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}],
                                  lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, len(data))
    model.train()  # without dropout
    losses = []
    for batch in data:
        mask = torch.arange(LENGTH)[None] < batch["lengths"][:, None]
        more = {"token_type_ids": batch["segments"]} if bert else {}
        loss = model(batch["tokens"], attention_mask=mask.long(), labels=batch["labels"], **more).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return losses


def save(folder, model, data, write):
    """The model as it is now in float32, and the batches; `write` trains it and gives the losses."""
    shutil.rmtree(folder, ignore_errors=True)
    model.float().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    model.double()  # what the file holds, exactly
    losses = write()
    golden = {"rate": RATE, "decay": DECAY, "clip": CLIP, "losses": losses,
              "batches": [{key: value.tolist() for key, value in batch.items()} for batch in data]}
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")


def main():
    generator = torch.Generator().manual_seed(11)

    def of_sequences(real):
        return torch.randint(0, LABELS, (BATCH,), generator=generator)

    def of_tokens(real):
        labels = torch.randint(0, LABELS, (BATCH, LENGTH), generator=generator)
        first = torch.rand((BATCH, LENGTH), generator=generator) < 0.7
        first[:, 1] = True
        return labels.masked_fill(~(real & first), -100)

    for name, make, config, labels in [
            ("bert-classify", transformers.BertForSequenceClassification, families.bert_config(num_labels=LABELS), of_sequences),
            ("bert-tag", transformers.BertForTokenClassification, families.bert_config(num_labels=LABELS), of_tokens),
            ("gpt2-classify", transformers.GPT2ForSequenceClassification,
             families.gpt2_config(num_labels=LABELS, pad_token_id=0), of_sequences)]:
        model = model_of(make, config, generator)
        data = batches(generator, labels)
        save(FOLDER / name, model, data, lambda: train(model, data, bert=name.startswith("bert")))


if __name__ == "__main__":
    main()
