#!/usr/bin/env python3
"""Makes the golden files of FamiliesGoldenTest: a tiny model of every family and head in Hugging Face layout, and what
transformers computes with it in double precision: outputs, loss and the gradient of every parameter. GPT-3's banded layers
have no class there: a twin of its own, written from the paper, stands in.

    python3 tests/goldens/families.py                 (needs torch, transformers, safetensors)
    python3 tests/goldens/families.py --open FOLDER   loads a folder that Sinter saved and prints its loss on a fixed text
"""
import json
import pathlib
import shutil
import sys

# This file's own folder comes first on the path, and with it tokenizers.py.
sys.path.pop(0)
import torch
import transformers
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/model/families"
BATCH, LENGTH, WIDTH, LAYERS, HEADS, VOCABULARY = 4, 11, 12, 2, 2, 41
LENGTHS = [11, 1, 7, 10]


def bert_config(**more):
    return transformers.BertConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                                   intermediate_size=20, max_position_embeddings=13, type_vocab_size=2,
                                   hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **more)


def gpt1_config(**more):
    return transformers.OpenAIGPTConfig(vocab_size=VOCABULARY, n_positions=13, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, embd_pdrop=0.0,
                                     attn_pdrop=0.0, resid_pdrop=0.0, **more)


def gpt2_config(**more):
    return transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=13, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, embd_pdrop=0.0,
                                   attn_pdrop=0.0, resid_pdrop=0.0,
                                   **{"n_inner": 20, "classifier_dropout": 0.0, "bos_token_id": None, "eos_token_id": None, **more})


def marian_config(**more):
    return transformers.MarianConfig(
        vocab_size=VOCABULARY, decoder_vocab_size=VOCABULARY, d_model=WIDTH, encoder_layers=LAYERS, decoder_layers=LAYERS,
        encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=20, decoder_ffn_dim=20,
        max_position_embeddings=17, activation_function="relu", scale_embedding=True, pad_token_id=40, eos_token_id=0,
        decoder_start_token_id=40, forced_eos_token_id=0, dropout=0.0, **more)


def banded_gpt(model, tokens, window):
    """GPT-3 (Brown et al. 2020, section 2.1) over a GPT-2's parameters: dense and banded layers in turn."""
    p = {name.removeprefix("transformer."): value for name, value in model.named_parameters()}

    def norm(x, name):
        return torch.nn.functional.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], 1e-5)

    def linear(x, name):
        return x @ p[name + ".weight"] + p[name + ".bias"]

    length = tokens.shape[1]
    i, j = torch.arange(length)[:, None], torch.arange(length)[None]
    x = p["wte.weight"][tokens] + p["wpe.weight"][:length]
    for layer in range(LAYERS):
        h = f"h.{layer}."
        parts = linear(norm(x, h + "ln_1"), h + "attn.c_attn").split(WIDTH, dim=2)
        q, k, v = (part.reshape(*tokens.shape, HEADS, -1).transpose(1, 2) for part in parts)
        seen = (j <= i) & ((i - j < window) if layer % 2 == 1 else torch.tensor(True))
        scores = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape), h + "attn.c_proj")
        inner = torch.nn.functional.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate="tanh")
        x = x + linear(inner, h + "mlp.c_proj")
    return norm(x, "ln_f") @ p["wte.weight"].T


def disturb(model, generator):
    """Nothing at the values of a fresh model, where mistakes in gains and biases hide."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def save(name, model, inputs, outputs, loss, extra=None):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    loss.backward()
    golden = {"outputs": outputs.detach().float().contiguous()}
    golden |= {key: value.int().contiguous() if value.dtype == torch.int64 else value.float().contiguous()
               for key, value in inputs.items()}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            golden["gradient/" + key] = parameter.grad.float().contiguous()
    model.float().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(golden, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps({"loss": loss.item(), **(extra or {})}) + "\n")


def main():
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor(LENGTHS)
    real = torch.arange(LENGTH)[None] < lengths[:, None]
    # No padding token among the real ones.
    tokens = torch.randint(1, VOCABULARY, (BATCH, LENGTH), generator=generator).masked_fill(~real, 0)
    segments = torch.randint(0, 2, (BATCH, LENGTH), generator=generator)
    batch = {"tokens": tokens, "segments": segments, "lengths": lengths}

    def whole(make, config):
        model = make(config).double().eval()
        disturb(model, generator)
        return model

    def bert(name, make, labels, run=None, **config):
        model = whole(make, bert_config(**config))
        arguments = {"input_ids": tokens, "attention_mask": real.long(), "token_type_ids": segments}
        result = model(**arguments, **(run or {"labels": labels}))
        return model, result

    # Language models.
    targets = torch.randint(0, VOCABULARY, (BATCH, LENGTH), generator=generator)
    for name, make, config in [("gpt1", transformers.OpenAIGPTLMHeadModel, gpt1_config()),
                               ("gpt2", transformers.GPT2LMHeadModel, gpt2_config(activation_function="gelu"))]:
        model = whole(make, config)
        logits = model(tokens).logits
        save(name, model, {"tokens": tokens, "targets": targets}, logits,
             torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))
    for window in [1, 3, 64]:
        model = whole(transformers.GPT2LMHeadModel, gpt2_config())
        logits = banded_gpt(model, tokens, window)
        if window == 64:
            assert torch.allclose(logits, model(tokens).logits)
        save(f"gpt3-{window}", model, {"tokens": tokens, "targets": targets}, logits,
             torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()))
        path = FOLDER / f"gpt3-{window}" / "config.json"
        config = json.loads(path.read_text())
        config |= {"model_type": "gpt3", "architectures": ["GPT3LMHeadModel"], "window_size": window}
        path.write_text(json.dumps(config, indent=2) + "\n")

    # GPTs' heads.
    labels = torch.randint(0, 3, (BATCH,), generator=generator)
    for name, make, config in [
            ("gpt1-sequence", transformers.OpenAIGPTForSequenceClassification, gpt1_config(num_labels=3, pad_token_id=0)),
            ("gpt2-sequence", transformers.GPT2ForSequenceClassification, gpt2_config(num_labels=3, pad_token_id=0))]:
        model = whole(make, config)
        result = model(tokens, labels=labels)
        save(name, model, {**batch, "targets": labels}, result.logits, result.loss)
    token_labels = torch.randint(0, 5, (BATCH, LENGTH), generator=generator).masked_fill(~real, -100)
    token_labels[0, 3] = -100
    model = whole(transformers.GPT2ForTokenClassification, gpt2_config(num_labels=5))
    result = model(tokens, labels=token_labels)
    save("gpt2-tokens", model, {**batch, "targets": token_labels}, result.logits, result.loss)

    # BERT's heads.
    masked = (torch.rand((BATCH, LENGTH), generator=generator) < 0.4) & real
    words = targets.masked_fill(~masked, -100)
    following = torch.randint(0, 2, (BATCH,), generator=generator)
    model, result = bert("", transformers.BertForPreTraining, None,
                         {"labels": words, "next_sentence_label": following})
    save("bert-pretraining", model, {**batch, "targets": words, "next_targets": following,
                                     "next_outputs": result.seq_relationship_logits.detach()},
         result.prediction_logits, result.loss)
    model, result = bert("", transformers.BertForMaskedLM, words, hidden_act="gelu_new")
    save("bert-masked", model, {**batch, "targets": words}, result.logits, result.loss)
    model, result = bert("", transformers.BertForSequenceClassification, labels, num_labels=3)
    save("bert-sequence", model, {**batch, "targets": labels}, result.logits, result.loss)
    numbers = torch.randn((BATCH,), generator=generator, dtype=torch.float64)
    model, result = bert("", transformers.BertForSequenceClassification, numbers, num_labels=1)
    save("bert-regression", model, {**batch, "numbers": numbers}, result.logits, result.loss)
    several = torch.randint(0, 2, (BATCH, 3), generator=generator).double()
    model, result = bert("", transformers.BertForSequenceClassification, several, num_labels=3,
                         problem_type="multi_label_classification")
    save("bert-several", model, {**batch, "numbers": several}, result.logits, result.loss)
    model, result = bert("", transformers.BertForTokenClassification, token_labels, num_labels=5)
    save("bert-tokens", model, {**batch, "targets": token_labels}, result.logits, result.loss)
    starts, ends = torch.tensor([3, 0, LENGTH, 9]), torch.tensor([5, 0, 6, 9])  # one outside of the window
    model, result = bert("", transformers.BertForQuestionAnswering, None, {"start_positions": starts, "end_positions": ends})
    positions = torch.stack([starts, ends], 1)
    save("bert-span", model, {**batch, "targets": positions.masked_fill(positions == LENGTH, -100)},
         torch.stack([result.start_logits, result.end_logits], 1), result.loss)
    model = whole(transformers.BertForMultipleChoice, bert_config())
    shape = (BATCH // 2, 2, LENGTH)
    choices = torch.tensor([1, 0])
    result = model(input_ids=tokens.view(shape), attention_mask=real.long().view(shape), token_type_ids=segments.view(shape),
                   labels=choices)
    save("bert-choice", model, {**batch, "targets": choices}, result.logits, result.loss)
    model = whole(transformers.BertModel, bert_config())
    states = model(input_ids=tokens, attention_mask=real.long(), token_type_ids=segments).last_hidden_state
    mean = (states * real[..., None]).sum(1) / lengths[:, None]
    save("bert-mean", model, {**batch, "first": states[:, 0].detach()}, mean, mean.sum())

    # The Transformer. Tokens of its own: padding is the last.
    sources = torch.where(real, tokens.clamp(max=39), 40)
    wanted = torch.randint(1, 40, (BATCH, 6), generator=generator)
    wanted[1, 3:] = -100
    wanted[3, 5:] = -100
    model = whole(transformers.MarianMTModel, marian_config())
    result = model(input_ids=sources, attention_mask=real.long(), labels=wanted)
    generations = {}
    for beams, penalty in [(1, 1.0), (3, 1.0), (4, 0.6), (4, 2.0)]:
        texts = model.generate(input_ids=sources, attention_mask=real.long(), num_beams=beams, length_penalty=penalty,
                               max_new_tokens=9, do_sample=False, no_repeat_ngram_size=2)
        generations[f"{beams} {penalty}"] = [text[1:text.index(0) + 1] for text in texts.tolist()]
    save("marian", model, {"sources": sources, "lengths": lengths, "targets": wanted}, result.logits, result.loss,
         {"generations": generations})


def open_folder(folder):
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())
    make = getattr(transformers, config["architectures"][0])
    model, report = make.from_pretrained(folder, output_loading_info=True)
    # A BertModel has a pooler, which sentence embeddings do without.
    unexplained = [name for name in report["missing_keys"] if not (make is transformers.BertModel and "pooler" in name)]
    assert not unexplained and not report["unexpected_keys"], report
    tokens = torch.arange(1, 11)[None]
    arguments = {"input_ids": tokens[None] if "MultipleChoice" in config["architectures"][0] else tokens}
    if config.get("is_encoder_decoder"):
        arguments["decoder_input_ids"] = tokens
    result = model.eval()(**arguments)
    print(f"{result[0].double().square().mean().item():.6f}")


if __name__ == "__main__":
    open_folder(sys.argv[2]) if sys.argv[1:2] == ["--open"] else main()
