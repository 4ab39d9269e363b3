package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;

/**
 * {@code tokenizer.json} of each kind, as Hugging Face writes it, without vocabulary and merges.
 */
final class Layouts {
  private Layouts() {}

  static ObjectNode characters() {
    ObjectNode root = root();
    root.putObject("decoder").put("type", "Fuse");
    bpe(root);
    return root;
  }

  /** GPT-2. */
  static ObjectNode byteLevel() {
    ObjectNode root = root();
    for (String part : List.of("pre_tokenizer", "post_processor", "decoder")) {
      root.putObject(part)
          .put("type", "ByteLevel")
          .put("add_prefix_space", false)
          .put("trim_offsets", true)
          .put("use_regex", true);
    }
    bpe(root);
    return root;
  }

  /** GPT-1. */
  static ObjectNode words(String unknown) {
    ObjectNode root = root();
    normalizer(root, true, null, true);
    root.putObject("pre_tokenizer").put("type", "BertPreTokenizer");
    root.putObject("decoder").put("type", "BPEDecoder").put("suffix", "</w>");
    bpe(root).put("unk_token", unknown).put("end_of_word_suffix", "</w>");
    return root;
  }

  /**
   * BERT.
   *
   * @param lowercase whether case is dropped
   * @param stripAccents whether accents are, null as with the case
   * @param ideographs whether each is a word
   * @param unknown token
   */
  static ObjectNode wordPiece(
      boolean lowercase, Boolean stripAccents, boolean ideographs, String unknown) {
    ObjectNode root = root();
    normalizer(root, ideographs, stripAccents, lowercase);
    root.putObject("pre_tokenizer").put("type", "BertPreTokenizer");
    root.putObject("decoder").put("type", "WordPiece").put("prefix", "##").put("cleanup", true);
    root.putObject("model")
        .put("type", "WordPiece")
        .put("unk_token", unknown)
        .put("continuing_subword_prefix", "##")
        .put("max_input_chars_per_word", 100);
    return root;
  }

  /** {@code [CLS] A [SEP]} and {@code [CLS] A [SEP] B [SEP]}. */
  static void template(ObjectNode root, AddedToken first, AddedToken end) {
    ObjectNode processor = root.putObject("post_processor").put("type", "TemplateProcessing");
    for (boolean two : new boolean[] {false, true}) {
      ArrayNode parts = processor.putArray(two ? "pair" : "single");
      part(parts, "SpecialToken", first.content(), 0);
      part(parts, "Sequence", "A", 0);
      part(parts, "SpecialToken", end.content(), 0);
      if (two) {
        part(parts, "Sequence", "B", 1);
        part(parts, "SpecialToken", end.content(), 1);
      }
    }
    ObjectNode specials = processor.putObject("special_tokens");
    for (AddedToken token : List.of(first, end)) {
      ObjectNode special = specials.putObject(token.content()).put("id", token.content());
      special.putArray("ids").add(token.id());
      special.putArray("tokens").add(token.content());
    }
  }

  private static void part(ArrayNode parts, String kind, String id, int type) {
    parts.addObject().putObject(kind).put("id", id).put("type_id", type);
  }

  static void add(ObjectNode root, AddedToken token) {
    root.withArray("added_tokens")
        .addObject()
        .put("id", token.id())
        .put("content", token.content())
        .put("single_word", false)
        .put("lstrip", token.left())
        .put("rstrip", token.right())
        .put("normalized", false)
        .put("special", token.special());
  }

  private static ObjectNode root() {
    ObjectNode root = TokenizerFile.JSON.createObjectNode();
    root.put("version", "1.0");
    root.putNull("truncation");
    root.putNull("padding");
    root.putArray("added_tokens");
    root.putNull("normalizer");
    root.putNull("pre_tokenizer");
    root.putNull("post_processor");
    return root;
  }

  private static void normalizer(
      ObjectNode root, boolean ideographs, Boolean stripAccents, boolean lowercase) {
    root.putObject("normalizer")
        .put("type", "BertNormalizer")
        .put("clean_text", true)
        .put("handle_chinese_chars", ideographs)
        .put("strip_accents", stripAccents)
        .put("lowercase", lowercase);
  }

  private static ObjectNode bpe(ObjectNode root) {
    ObjectNode model = root.putObject("model").put("type", "BPE");
    model.putNull("dropout");
    model.putNull("unk_token");
    model.putNull("continuing_subword_prefix");
    model.putNull("end_of_word_suffix");
    model.put("fuse_unk", false);
    model.put("byte_fallback", false);
    return model;
  }
}
