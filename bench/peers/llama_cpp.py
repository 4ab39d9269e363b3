"""llama.cpp on a random GPT-2 124M: the peer that bench/peers/compare.py runs beside ./sinter bench.

    python bench/peers/llama_cpp.py pp512|tg128|tg128x8 --folder FOLDER [--dtype fp32|bf16|q8|q4]

tg128x8 decodes 8 sequences together; their tokens count together. q8 is Q8_0, q4 is Q4_0.
FOLDER keeps llama.cpp's shared libraries, which `npm install --prefix FOLDER @node-llama-cpp/linux-x64` brings, and the
model, which is written there at the first run. Prints one number: tokens per second. Needs numpy and gguf. x86-64 Linux.
"""
import argparse
import ctypes
import pathlib
import random
import statistics
import sys
import time

import gguf
import numpy

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY = 12, 768, 12, 1024, 50257
TYPES = {"fp32": gguf.GGMLQuantizationType.F32, "bf16": gguf.GGMLQuantizationType.BF16,
         "q8": gguf.GGMLQuantizationType.Q8_0, "q4": gguf.GGMLQuantizationType.Q4_0}


class ModelParameters(ctypes.Structure):
    """By value and without its declaration: on x86-64 a large struct travels in memory, and what is too much stays unread."""
    _fields_ = [("rest", ctypes.c_uint64 * 128)]


class ContextParameters(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")] + [
        ("rest", ctypes.c_uint64 * 126)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.c_void_p), ("n_seq_id", ctypes.c_void_p), ("seq_id", ctypes.c_void_p),
                ("logits", ctypes.c_void_p)]


def weights():
    numbers = numpy.random.default_rng(1)

    def matrix(name, rows, columns):
        yield f"{name}.weight", 0.02 * numbers.standard_normal((rows, columns), dtype=numpy.float32)
        yield f"{name}.bias", numpy.zeros(rows, numpy.float32)

    def norm(name):
        yield f"{name}.weight", numpy.ones(WIDTH, numpy.float32)
        yield f"{name}.bias", numpy.zeros(WIDTH, numpy.float32)

    yield next(matrix("token_embd", VOCABULARY, WIDTH))
    yield next(matrix("position_embd", CONTEXT, WIDTH))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield from norm(block + "attn_norm")
        yield from matrix(block + "attn_qkv", 3 * WIDTH, WIDTH)
        yield from matrix(block + "attn_output", WIDTH, WIDTH)
        yield from norm(block + "ffn_norm")
        yield from matrix(block + "ffn_up", 4 * WIDTH, WIDTH)
        yield from matrix(block + "ffn_down", WIDTH, 4 * WIDTH)
    yield from norm("output_norm")


def write_model(path, dtype):
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(4 * WIDTH)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(VOCABULARY)])
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(VOCABULARY - 1)
    writer.add_bos_token_id(VOCABULARY - 1)
    kind = TYPES[dtype]
    for name, tensor in weights():
        if tensor.ndim == 2 and dtype != "fp32":
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Llama:
    def __init__(self, library, model, sequences):
        functions = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        self.c = functions
        functions.ggml_backend_load_all_from_path(str(library.parent).encode())
        self.silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        functions.llama_log_set(self.silent, None)
        functions.llama_model_default_params.restype = ModelParameters
        functions.llama_context_default_params.restype = ContextParameters
        functions.llama_batch_get_one.restype = Batch
        for name in ("llama_model_load_from_file", "llama_init_from_model", "llama_get_memory", "llama_get_logits_ith"):
            getattr(functions, name).restype = ctypes.c_void_p
        loaded = functions.llama_model_load_from_file(str(model).encode(), functions.llama_model_default_params())
        if not loaded:
            sys.exit(f"llama.cpp cannot load {model}")
        parameters = functions.llama_context_default_params()
        parameters.n_ctx = context = max(CONTEXT, CONTEXT // 4 * sequences)
        parameters.n_seq_max = sequences
        self.context = ctypes.c_void_p(functions.llama_init_from_model(ctypes.c_void_p(loaded), parameters))
        if not self.context or functions.llama_n_ctx(self.context) != context:
            sys.exit("llama.cpp gives no context of that size: its structs are not those that this file knows")
        functions.llama_set_n_threads(self.context, 2, 2)

    def forget(self):
        self.c.llama_memory_clear(ctypes.c_void_p(self.c.llama_get_memory(self.context)), ctypes.c_bool(True))

    def next(self, tokens):
        """Runs the tokens behind those before them; returns the likeliest token after the last."""
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        self.decode(self.c.llama_batch_get_one(array, len(tokens)))
        return self.likeliest(-1)

    def step(self, tokens, position):
        """Runs a token of each sequence at that position; returns the likeliest after each."""
        count = len(tokens)
        sequences = [(ctypes.c_int32 * 1)(i) for i in range(count)]
        arrays = [(ctypes.c_int32 * count)(*tokens), (ctypes.c_int32 * count)(*[position] * count),
                  (ctypes.c_int32 * count)(*[1] * count), (ctypes.POINTER(ctypes.c_int32) * count)(*sequences),
                  (ctypes.c_int8 * count)(*[1] * count)]
        token, pos, n_seq_id, seq_id, logits = (ctypes.cast(array, ctypes.c_void_p) for array in arrays)
        self.decode(Batch(count, ctypes.cast(token, ctypes.POINTER(ctypes.c_int32)), None, pos, n_seq_id, seq_id, logits))
        return [self.likeliest(i) for i in range(count)]

    def decode(self, batch):
        if self.c.llama_decode(self.context, batch) != 0:
            sys.exit("llama_decode failed")

    def likeliest(self, row):
        address = self.c.llama_get_logits_ith(self.context, row)
        return int(numpy.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (VOCABULARY,)).argmax())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", default="fp32", choices=TYPES)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    model = options.folder / f"gpt2-{options.dtype}.gguf"
    if not model.exists():
        write_model(model, options.dtype)
    libraries = sorted(options.folder.glob("node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libllama.*so*"))
    if not libraries:
        sys.exit(f"no libllama: npm install --prefix {options.folder} @node-llama-cpp/linux-x64")
    count, _, sequences = options.what[2:].partition("x")
    count, sequences, prompt = int(count), int(sequences or 1), options.what.startswith("pp")
    llama = Llama(libraries[0], model, sequences)
    rates = []
    for _ in range(options.runs + 1):
        llama.forget()
        tokens = [random.randrange(VOCABULARY) for _ in range(count if prompt else sequences)]
        if not prompt:
            tokens = llama.step(tokens, 0)
        started = time.perf_counter()
        if prompt:
            llama.next(tokens)
        else:
            for position in range(1, count + 1):
                tokens = llama.step(tokens, position)
        rates.append(count * sequences / (time.perf_counter() - started))
    print(f"{statistics.median(rates[1:]):.1f}")


if __name__ == "__main__":
    main()
