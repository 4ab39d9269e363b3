#!/usr/bin/env python3
"""Makes the small safetensors files that the tests of dev.sinter.io read and must write byte for byte.

    python3 tests/goldens/safetensors_files.py      (needs torch, safetensors, huggingface_hub)
    python3 tests/goldens/safetensors_files.py --check FILE     loads a file of ours and prints what is in it
"""
import pathlib
import sys

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/io"


def ramp(dtype, *shape):
    count = torch.Size(shape).numel()
    return ((torch.arange(count, dtype=torch.float64) - 2) * 0.75).reshape(shape).to(dtype)


def make():
    # One type a width: the library orders types of one width by a list of its own.
    save_file(
        {
            "h.0.attn.c_attn.weight": ramp(torch.float32, 2, 6),
            "h.0.ln_1.bias": ramp(torch.bfloat16, 5),
            "a scalar": torch.tensor(-3, dtype=torch.int64),
            "empty": torch.zeros(0, 4),
            "größe 😀": ramp(torch.float32, 3),
            "mask": torch.tensor([True, False, True]),
        },
        FOLDER / "small.safetensors",
        metadata={"format": "pt"},
    )
    save_file({"half": torch.tensor([0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, 6.1e-5, float("inf"), float("nan")]).half()},
              FOLDER / "half.safetensors", metadata={"format": "pt"})
    sharded = FOLDER / "sharded"
    sharded.mkdir(exist_ok=True)
    save_torch_state_dict({f"layer.{i}.weight": ramp(torch.float32, 4, 4) + i for i in range(5)},
                          sharded, max_shard_size=150)


def check(path):
    with safe_open(path, framework="pt") as file:
        print("metadata", file.metadata())
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            print(name, tensor.dtype, list(tensor.shape), tensor.flatten().tolist())


if len(sys.argv) == 3 and sys.argv[1] == "--check":
    check(sys.argv[2])
else:
    make()
