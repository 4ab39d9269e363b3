#!/usr/bin/env python3
"""Makes characters.txt of dev.sinter.text: how Hugging Face's tokenizers classes each code point.

    python3 tests/goldens/characters.py            (needs tokenizers)

A table, because every JDK has another version of Unicode, and tokenizers has several at once: with the JDK's classes the same
text would have other ids on another JDK, and other ids than those that a model was trained with.
"""
import pathlib
import sys
import unicodedata

# This file's own folder comes first on the path, and with it the name of tokenizers.py.
sys.path.pop(0)
from tokenizers import __version__, normalizers, pre_tokenizers

FILE = pathlib.Path(__file__).parents[2] / "java/sinter/src/main/resources/dev/sinter/text/characters.txt"
# Younger than the Unicode of JDK 17 (13.0): capitals, and what newer JDKs take apart.
CAPITALS = [0x1C89, 0x2C2F, *range(0xA7C0, 0xA7DD), *range(0x10570, 0x10596), *range(0x10D50, 0x10D66), *range(0x16EA0, 0x16EB9)]
COMPOSED = [0x105C9, 0x105E4, 0x11383, 0x11385, 0x1138E, 0x11391, 0x11938, 0x113C5, 0x113C7, 0x113C8, *range(0x16121, 0x16129),
            *range(0x16D68, 0x16D6B)]
POINTS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]

clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
strip = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
accents = normalizers.StripAccents()
lower = normalizers.Lowercase()
nfd = normalizers.NFD()
bert = pre_tokenizers.BertPreTokenizer()
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)


def cuts(pre_tokenizer, text):
    return [span for _, span in pre_tokenizer.pre_tokenize_str(text)]


def combining(point):
    """The canonical combining class, 0 where tokenizers does not move the mark."""
    moved = nfd.normalize_str("a\u0345" + point) == "a" + point + "\u0345"
    return unicodedata.combining(point) if moved or point == "\u0345" else 0


CLASSES = {
    "letter": lambda point: cuts(byte_level, "a" + point) == [(0, 2)],
    "number": lambda point: cuts(byte_level, "1" + point) == [(0, 2)],
    "punctuation": lambda point: cuts(bert, "a" + point + "b") == [(0, 1), (1, 2), (2, 3)],
    "control": lambda point: clean.normalize_str("a" + point + "b") == "ab",
    "nonspacing": lambda point: strip.normalize_str("a" + point) == "a",
    "mark": lambda point: accents.normalize_str("a" + point) == "a",
}


def ranges(name, values):
    """Lines of name, first, last and value, for what is not 0."""
    lines, first = [], None
    for code in sorted(values):
        if first is None or values.get(code - 1) != values[code]:
            first = code
        if values[code] and values.get(code + 1) != values[code]:
            lines.append(f"{name} {first:X} {code:X} {values[code]}")
    return lines


def main():
    lines = [f"# tests/goldens/characters.py made this with tokenizers {__version__}: class, first, last, value"]
    for name, test in CLASSES.items():
        lines += ranges(name, {ord(point): 1 for point in POINTS if test(point)})
    lines += ranges("combining", {ord(point): combining(point) for point in POINTS if unicodedata.combining(point)})
    lines += ranges("composed", {code: 1 for code in COMPOSED})
    lines += ranges("lower", {code: ord(lower.normalize_str(chr(code))) - code for code in CAPITALS})
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
