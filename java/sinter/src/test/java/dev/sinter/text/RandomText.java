package dev.sinter.text;

import java.util.Random;

/** Texts that no one would write: every kind of character beside every other. */
final class RandomText {
  private static final String[] PARTS = {
    "the",
    "The",
    "ing",
    "don't",
    "DON'T",
    "they'll",
    "we've",
    "I'm",
    "O'Neill's",
    "naïve",
    "café",
    "Straße",
    "İstanbul",
    "ΣΊΣΥΦΟΣ",
    "東京",
    "한국어",
    "العربية",
    "हिन्दी",
    "ภาษาไทย",
    "e\u0301",
    "a\u0323\u0301",
    "\u1e69",
    "🙂",
    "👩‍🚀",
    "🏳️‍🌈",
    "👍🏽",
    "🇩🇪",
    "12",
    "3.14",
    "²",
    "Ⅷ",
    "½",
    ".",
    ",",
    "...",
    "!?",
    "->",
    "__init__",
    "`",
    "$",
    "©",
    "—",
    "“",
    "\"",
    "'",
    "''",
    "#",
    "##",
    "</w>",
    "[MASK]",
    "[CLS]",
    "<unk>",
    "<|endoftext|>",
    "\u0000",
    "\u007f",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\ufffd",
    "\ue000",
    "\u0378",
    "\udbff\udfff",
    "\uffff",
    "\u00ad",
    "ẞ",
    "ǅ",
    "ﬁ",
    "Å",
    "가",
    "\u1100\u1161"
  };
  private static final String[] SPACES = {
    " ", " ", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085",
    "\u000b", "\f", "\u1680", "\u2028", "\u202f"
  };
  private static final int[][] BLOCKS = {
    {0, 0x7F},
    {0x80, 0x24F},
    {0x300, 0x36F},
    {0x370, 0x6FF},
    {0x900, 0x11FF},
    {0x1AB0, 0x1EFF},
    {0x1F00, 0x2BFF},
    {0x3000, 0x30FF},
    {0x4E00, 0x9FFF},
    {0xA000, 0xABFF},
    {0xAC00, 0xD7FF},
    {0xE000, 0xFFFF},
    {0x10000, 0x12FFF},
    {0x16000, 0x1FFFF},
    {0x20000, 0x323AF},
    {0xE0000, 0xE01FF},
    {0, 0xD7FF},
    {0x10000, 0x10FFFF}
  };

  private RandomText() {}

  static String next(Random random) {
    StringBuilder text = new StringBuilder();
    for (int count = random.nextInt(12); count > 0; count--) {
      switch (random.nextInt(8)) {
        case 0, 1, 2 -> text.append(PARTS[random.nextInt(PARTS.length)]);
        case 3, 4 -> text.append(SPACES[random.nextInt(SPACES.length)]);
        case 5, 6 -> {
          int[] block = BLOCKS[random.nextInt(BLOCKS.length)];
          for (int length = random.nextInt(4); length >= 0; length--) {
            text.appendCodePoint(block[0] + random.nextInt(block[1] - block[0] + 1));
          }
        }
        default -> {
          int c = 'a' + random.nextInt(26);
          text.append(
              Character.toString(c).repeat(1 + random.nextInt(random.nextInt(20) == 0 ? 300 : 5)));
        }
      }
    }
    return text.toString();
  }

  /** A text to learn a vocabulary from. */
  static String corpus(int seed) {
    Random random = new Random(seed);
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 20_000; i++) {
      text.append(PARTS[random.nextInt(PARTS.length)]);
      text.append(random.nextInt(3) == 0 ? "" : SPACES[random.nextInt(SPACES.length)]);
    }
    return text.toString();
  }
}
