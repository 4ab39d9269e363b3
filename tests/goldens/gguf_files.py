#!/usr/bin/env python3
"""Makes the golden files of the GGUF tests with llama.cpp's own Python package: every type of tensor that is read with what
that package widens it to, a small GPT-2 in Q8_0 and Q4_0 with a tokenizer inside and the logits that transformers computes
from the widened weights in double precision, and the BERT of families/bert-mean in F16 with its sentence vector.

    python3 tests/goldens/gguf_files.py           (needs gguf, numpy, torch, transformers, safetensors)
"""
import json
import pathlib
import sys

# This file's own folder comes first on the path, and with it tokenizers.py.
sys.path.pop(0)
import gguf
import numpy
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

RESOURCES = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter"
FOLDER = RESOURCES / "gguf"
IDS = [17, 301, 499, 0, 42, 256, 77]
TEXT = "cab dj z"
GOLDEN = {}


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add(writer, name, values, kind):
    """Adds a tensor; returns what it widens to."""
    stored = gguf.quants.quantize(values, kind)
    writer.add_tensor(name, stored, raw_dtype=kind)
    return gguf.quants.dequantize(stored, kind).reshape(values.shape)


def types():
    random = numpy.random.default_rng(1)
    writer = gguf.GGUFWriter(FOLDER / "types.gguf", "none")
    for kind in (Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0):
        values = random.standard_normal((2, 160), dtype=numpy.float32)
        GOLDEN["types/" + kind.name] = torch.from_numpy(add(writer, kind.name, values, kind).copy())
    # The package widens Q6_K, but does not make it.
    blocks = random.integers(0, 256, (2, 210), dtype=numpy.uint8)
    blocks[:, 208:] = numpy.array([[0.01], [-0.003]], dtype=numpy.float16).view(numpy.uint8)
    writer.add_tensor("Q6_K", blocks, raw_dtype=Type.Q6_K)
    GOLDEN["types/Q6_K"] = torch.from_numpy(gguf.quants.dequantize(blocks, Type.Q6_K).copy())
    write(writer)


def add_weights(writer, model, arch, layers, kind_of):
    """Adds a model's weights under llama.cpp's names, and gives the model what they widen to."""
    names = gguf.get_tensor_name_map(arch, layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("pooler."):
                continue
            turned = name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))
            values = (parameter.T if turned else parameter).float().contiguous().numpy()
            ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
            widened = torch.from_numpy(add(writer, ours, values, kind_of(ours, values)).copy())
            parameter.copy_(widened.T if turned else widened)


def gpt2(kind):
    torch.manual_seed(3)
    config = transformers.GPT2Config(vocab_size=500, n_positions=16, n_embd=32, n_layer=1, n_head=4, n_inner=64,
                                     resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    name = "gpt2-" + kind.name.lower()
    writer = gguf.GGUFWriter(FOLDER / (name + ".gguf"), "gpt2")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_inner)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    tokenizer = json.loads((RESOURCES / "text/bpe/tokenizer.json").read_text())
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token == "<|endoftext|>" else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    add_weights(writer, model, gguf.MODEL_ARCH.GPT2, config.n_layer,
                lambda name, values: kind if values.ndim == 2 and name != "position_embd.weight" else Type.F32)
    write(writer)
    GOLDEN[name] = model.double()(torch.tensor([IDS])).logits[0].detach().float().contiguous()


def bert():
    model = transformers.BertModel.from_pretrained(RESOURCES / "model/families/bert-mean", add_pooling_layer=False).eval()
    config = model.config
    writer = gguf.GGUFWriter(FOLDER / "bert-f16.gguf", "bert")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = specials + ["\u2581" + letter for letter in letters] + list(letters[:10])
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_type_count(config.type_vocab_size)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.NORMAL] * 36)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    add_weights(writer, model, gguf.MODEL_ARCH.BERT, config.num_hidden_layers,
                lambda name, values: Type.F16 if values.ndim == 2 else Type.F32)
    write(writer)
    ids = [2] + [tokens.index(token) for token in ("\u2581c", "a", "b", "\u2581d", "j", "\u2581z")] + [3]
    GOLDEN["bert/ids"] = torch.tensor(ids, dtype=torch.float32)
    GOLDEN["bert"] = model.double()(torch.tensor([ids])).last_hidden_state[0].mean(0).detach().float()


def main():
    FOLDER.mkdir(exist_ok=True)
    types()
    gpt2(Type.Q8_0)
    gpt2(Type.Q4_0)
    bert()
    save_file(GOLDEN, FOLDER / "golden.safetensors")


if __name__ == "__main__":
    main()
