#!/usr/bin/env python3
"""Makes the golden files of AdaptersGoldenTest: over the tiny models of families.py, adapters as PEFT draws and saves them, the
loss of each of some steps of AdamW in double precision, what PEFT then saves and the outputs it then has. PEFT has no
bottlenecks: for those a twin of its own stands in, written from Houlsby et al. 2019 over transformers' BERT.

    python3 tests/goldens/adapters.py                          (needs torch, transformers, peft, safetensors; after families.py)
    python3 tests/goldens/adapters.py --open FOLDER            opens with PEFT what AdaptersGoldenTest.main saved there, and
                                                               holds the outputs to those that it noted
"""
import json
import pathlib
import shutil
import sys

# This file's own folder comes first on the path, and with it tokenizers.py.
sys.path.pop(0)
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

MODEL = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/model"
FOLDER = MODEL / "adapters"
BATCH, LENGTH, VOCABULARY, LABELS = 4, 11, 41, 3
RATE = 1e-2


def base(name):
    make = {"gpt2": transformers.GPT2LMHeadModel, "bert-sequence": transformers.BertForSequenceClassification,
            "marian": transformers.MarianMTModel}[name]
    return make.from_pretrained(MODEL / "families" / name, attn_implementation="eager")


def batch_of(name, generator):
    """What the model is run on: the names are those of golden.safetensors."""
    lengths = torch.tensor([LENGTH, 1, 7, 10])
    real = torch.arange(LENGTH)[None] < lengths[:, None]
    tokens = torch.randint(1, VOCABULARY - 1, (BATCH, LENGTH), generator=generator)
    if name == "gpt2":
        return {"tokens": tokens}
    if name == "marian":
        return {"tokens": tokens.masked_fill(~real, VOCABULARY - 1), "lengths": lengths,
                "targets": torch.randint(1, VOCABULARY - 1, (BATCH, 9), generator=generator)}
    return {"tokens": tokens.masked_fill(~real, 0), "lengths": lengths,
            "segments": torch.randint(0, 2, (BATCH, LENGTH), generator=generator),
            "targets": torch.randint(0, LABELS, (BATCH,), generator=generator)}


def run(name, model, batch, **labels):
    tokens = batch["tokens"]
    if name == "gpt2":
        return model(input_ids=tokens, **labels)
    mask = (torch.arange(LENGTH)[None] < batch["lengths"][:, None]).long()
    if name == "marian":
        inputs = torch.cat([torch.full((BATCH, 1), VOCABULARY - 1), batch["targets"][:, :-1]], 1)
        return model(input_ids=tokens, attention_mask=mask, decoder_input_ids=inputs, **labels)
    return model(input_ids=tokens, attention_mask=mask, token_type_ids=batch["segments"], **labels)


def loss_of(name, model, batch):
    """With AdaLoRA's regulariser, which PEFT adds to what the model itself returns."""
    return run(name, model, batch, labels=batch["tokens" if name == "gpt2" else "targets"]).loss


def outputs_of(name, model, batch):
    with torch.no_grad():
        return run(name, model.double().eval(), batch).logits


def train(name, model, batch, steps, clip=0.0, after=lambda step: None):
    """The loss of each step."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    losses = []
    for step in range(1, steps + 1):
        loss = loss_of(name, model, batch)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(trained, clip)
        optimizer.step()
        after(step)
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def note(folder, name, model, batch, losses, extra=None):
    outputs = outputs_of(name, model, batch)
    golden = {key: value.int().contiguous() for key, value in batch.items()}
    save_file({**golden, "outputs": outputs.float().contiguous()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps({"base": name, "losses": losses, **(extra or {})}) + "\n")


def start(case):
    folder = FOLDER / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def save_adapter(model, folder):
    """As PEFT saves it, in fp32; the rest of training goes on in double precision."""
    model.float().save_pretrained(folder)
    (folder / "README.md").unlink()
    model.double()


def with_peft(case, name, config, steps=10, clip=0.0):
    torch.manual_seed(5)
    folder = start(case)
    batch = batch_of(name, torch.Generator().manual_seed(11))
    model = peft.get_peft_model(base(name), config)
    # A saved path would be this machine's.
    model.peft_config["default"].base_model_name_or_path = "families/" + name
    save_adapter(model, folder / "initial")
    is_ada = isinstance(config, peft.AdaLoraConfig)
    allocate = model.base_model.update_and_allocate if is_ada else lambda step: None
    losses = train(name, model.double().train(), batch, steps, clip, allocate)
    extra = {}
    if is_ada:
        extra["kept"] = {key.replace(".lora_E.default", ""): value for key, value in config.rank_pattern.items()}
        print(case, {key: sum(value) for key, value in extra["kept"].items()})
    save_adapter(model, folder / "final")
    # What was saved, opened again: where AdaLoRA kept nothing of a module, PEFT's own sliced tensors count.
    again = peft.PeftModel.from_pretrained(base(name), folder / "final")
    note(folder, name, again, batch, losses, extra)
    print(case, losses[0], losses[-1])


class Bottleneck(torch.nn.Module):
    """Houlsby et al. 2019, section 2.1."""

    def __init__(self, width, size):
        super().__init__()
        self.adapter_down = torch.nn.Linear(width, size)
        self.adapter_up = torch.nn.Linear(size, width)

    def forward(self, x):
        return x + self.adapter_up(torch.nn.functional.gelu(self.adapter_down(x)))


class Narrowed(torch.nn.Linear):
    """A projection with a bottleneck behind it; there is no dropout between them here."""

    def forward(self, x):
        return self.bottleneck(super().forward(x))


def bottlenecks(case, size, steps=10):
    torch.manual_seed(6)
    name = "bert-sequence"
    folder = start(case)
    batch = batch_of(name, torch.Generator().manual_seed(12))
    model = base(name)
    for parameter in model.parameters():
        parameter.requires_grad = False
    for layer in model.bert.encoder.layer:
        for dense in (layer.attention.output.dense, layer.output.dense):
            dense.__class__ = Narrowed
            dense.bottleneck = Bottleneck(dense.out_features, size)
            for linear in (dense.bottleneck.adapter_down, dense.bottleneck.adapter_up):
                torch.nn.init.trunc_normal_(linear.weight, std=1e-2, a=-2e-2, b=2e-2)
                torch.nn.init.zeros_(linear.bias)
    for module_name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm) or module_name == "classifier":
            module.requires_grad_(True)

    def save(to):
        to.mkdir()
        save_file({"base_model.model." + key.replace(".bottleneck", ""): value.detach().float().contiguous()
                   for key, value in model.named_parameters() if value.requires_grad}, to / "adapter_model.safetensors")
        (to / "adapter_config.json").write_text(json.dumps(
            {"peft_type": "SINTER_BOTTLENECK", "task_type": "SEQ_CLS", "base_model_name_or_path": "families/" + name,
             "inference_mode": True, "modules_to_save": ["classifier"], "bottleneck_size": size, "initial_deviation": 0.01},
            indent=2) + "\n")

    save(folder / "initial")
    losses = train(name, model.double().train(), batch, steps)
    save(folder / "final")
    note(folder, name, model, batch, losses)
    print(case, losses[0], losses[-1])


def main():
    with_peft("lora-gpt2", "gpt2", peft.LoraConfig(task_type="CAUSAL_LM", r=4))
    with_peft("lora-bert", "bert-sequence", peft.LoraConfig(
        task_type="SEQ_CLS", r=3, lora_alpha=6, rank_pattern={"layer.1.attention.self.query": 2},
        alpha_pattern={r"0\..*\.value": 5}))
    with_peft("rslora-gpt2", "gpt2", peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=4, use_rslora=True, target_modules=r".*\.(c_fc|c_proj|c_attn)"), clip=0.5)
    # Without a task type: PEFT 0.21 looks for a method that transformers 5 has renamed.
    with_peft("lora-marian", "marian", peft.LoraConfig(
        r=2, target_modules=["v_proj", "encoder_attn.q_proj", "fc1"], layers_to_transform=[1],
        modules_to_save=["final_layer_norm"]))
    with_peft("adalora-bert", "bert-sequence", peft.AdaLoraConfig(
        task_type="SEQ_CLS", init_r=4, target_r=1, lora_alpha=16, target_modules=["query", "key", "value", "dense"], tinit=3,
        tfinal=5, deltaT=2, total_step=20), steps=20, clip=1.0)
    with_peft("adalora-gpt2", "gpt2", peft.AdaLoraConfig(
        task_type="CAUSAL_LM", init_r=4, target_r=2, lora_alpha=16, orth_reg_weight=0.1, target_modules=["c_attn", "c_fc"],
        tinit=1, tfinal=3, total_step=12), steps=12)
    bottlenecks("bottleneck-bert", 5)


def open_saved(root):
    """Every folder there has adapter files and golden.safetensors, with the inputs and what Sinter's outputs were."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        name = json.loads((folder / "golden.json").read_text())["base"]
        golden = load_file(folder / "golden.safetensors")
        batch = {key: value.long() for key, value in golden.items() if key != "outputs"}
        config = peft.PeftConfig.from_pretrained(folder)
        if config.task_type == "SEQ_2_SEQ_LM":
            config.task_type = None  # see main
        outputs = outputs_of(name, peft.PeftModel.from_pretrained(base(name), folder, config=config), batch)
        bare = outputs_of(name, base(name), batch)
        expected = golden["outputs"].double().reshape(outputs.shape)
        difference = (outputs - expected).abs().max().item()
        print(f"{folder.name}: off by {difference:.1e}; the adapter changes outputs by up to {(bare - outputs).abs().max().item():.2f}")
        assert difference < 1e-4, folder


if __name__ == "__main__":
    if sys.argv[1:2] == ["--open"]:
        open_saved(pathlib.Path(sys.argv[2]))
    else:
        main()
