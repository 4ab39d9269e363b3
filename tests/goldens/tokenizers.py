#!/usr/bin/env python3
"""Makes the golden files of BpeGoldenTest: a byte-level BPE that Hugging Face's tokenizers learned, and what it makes of texts.

    python3 tests/goldens/tokenizers.py                 (needs tokenizers)
    python3 tests/goldens/tokenizers.py --open FOLDER   encodes standard input with a tokenizer that Sinter saved; prints the ids
"""
import json
import pathlib
import random
import sys

# This file's own folder comes first on the path, and with it this file's name.
sys.path.pop(0)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FOLDER = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/text/bpe"
PARTS = ["the", "The", " the", "ing", "don't", "DON'T", "they'll", "we've", "I'm", "12", "345", " 67", "²", "Ⅷ", "é", "e\u0301", "ß",
         "東京", "한국어", "العربية", "हिन्दी", "🙂", "👩‍🚀", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000",
         "\u0085", "\u200b", ".", ",", "...", "!?", "->", "__init__", "<|endoftext|>", "\x00", "\x7f", "\ufffd", "\U0010ffff", "'"]


def main():
    numbers = random.Random(1)
    corpus = ["".join(numbers.choice(PARTS) + numbers.choice(["", " "]) for _ in range(20)) for _ in range(400)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"), pretty=False)
    texts = ["", " "] + ["".join(numbers.choice(PARTS) for _ in range(numbers.randint(1, 12))) for _ in range(300)]
    # Special tokens are not parsed out of text: as tokenizers does with encode_special_tokens.
    tokenizer.encode_special_tokens = True
    golden = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in texts]
    (FOLDER / "golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--open"]:
        print(*Tokenizer.from_file(sys.argv[2] + "/tokenizer.json").encode(sys.stdin.read(), add_special_tokens=False).ids)
    else:
        main()
