#!/usr/bin/env python3
"""Makes the golden files of BpeGoldenTest and WordGoldenTest: tokenizers that Hugging Face's library learned, and what they make
of texts.

    python3 tests/goldens/tokenizers.py                 (needs tokenizers)
    python3 tests/goldens/tokenizers.py --open FOLDER   encodes standard input with a tokenizer that Sinter saved; prints the ids
"""
import json
import pathlib
import random
import sys

# This file's own folder comes first on the path, and with it this file's name.
sys.path.pop(0)
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

RESOURCES = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/text"
FOLDER = RESOURCES / "bpe"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
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


def word_piece(lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, trainers.WordPieceTrainer(vocab_size=450, special_tokens=SPECIALS, show_progress=False)


def gpt1():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.decoder = decoders.BPEDecoder()
    return tokenizer, trainers.BpeTrainer(vocab_size=450, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False)


def utf16(text, place):
    return len(text[:place].encode("utf-16-le")) // 2


def words(name, tokenizer, trainer):
    """A tokenizer, its older files, and golden encodings; places are UTF-16's, as in Java."""
    numbers = random.Random(2)
    corpus = ["".join(numbers.choice(PARTS) + numbers.choice(["", " "]) for _ in range(20)) for _ in range(400)]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(corpus, trainer)
    if name != "gpt1":
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder = RESOURCES / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "old").mkdir(exist_ok=True)
    tokenizer.model.save(str(folder / "old"))
    if name != "gpt1":
        (folder / "old/tokenizer_config.json").write_text(json.dumps({"do_lower_case": name == "uncased"}))
    tokenizer.encode_special_tokens = True
    parts = PARTS + SPECIALS + ["don't do not!", "x" * 101]
    golden = []
    for _ in range(200):
        pair = ["".join(numbers.choice(parts) + numbers.choice(["", " "]) for _ in range(numbers.randint(0, 12))) for _ in "AB"]
        encoding = tokenizer.encode(*pair)
        texts = [pair[sequence or 0] for sequence in encoding.sequence_ids]
        golden.append({"text": pair[0], "pair": pair[1], "ids": encoding.ids, "types": encoding.type_ids,
                       "starts": [utf16(text, start) for text, (start, _) in zip(texts, encoding.offsets)],
                       "ends": [utf16(text, end) for text, (_, end) in zip(texts, encoding.offsets)],
                       "decoded": tokenizer.decode(encoding.ids, skip_special_tokens=False)})
    (folder / "golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--open"]:
        print(*Tokenizer.from_file(sys.argv[2] + "/tokenizer.json").encode(sys.stdin.read(), add_special_tokens=False).ids)
    else:
        main()
        words("cased", *word_piece(False))
        words("uncased", *word_piece(True))
        words("gpt1", *gpt1())
