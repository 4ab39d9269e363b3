package dev.sinter.text;

import java.util.List;

/** What a special token is for, whatever it is called in a vocabulary. */
public enum SpecialToken {
  /** Begins a text. */
  BEGIN_OF_TEXT("bos_token", "<|endoftext|>"),
  /** Ends a text. */
  END_OF_TEXT("eos_token", "<|endoftext|>"),
  /** Stands for what the vocabulary cannot express. */
  UNKNOWN("unk_token", "[UNK] <unk>"),
  /** Fills a batch; never looked at. */
  PADDING("pad_token", "[PAD] <pad>"),
  /** Comes first in BERT's input. */
  CLASS("cls_token", "[CLS]"),
  /** Ends each of the texts in BERT's input. */
  SEPARATOR("sep_token", "[SEP]"),
  /** Stands for a token that BERT shall guess. */
  MASK("mask_token", "[MASK]");

  final String key;
  private final String names;

  SpecialToken(String key, String names) {
    this.key = key;
    this.names = names;
  }

  /** What vocabularies usually call it. */
  List<String> usual() {
    return List.of(names.split(" ", -1));
  }
}
