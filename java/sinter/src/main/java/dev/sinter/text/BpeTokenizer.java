package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/**
 * GPT-2's byte-level byte-pair encoding (Radford et al. 2019, section 2.2; Sennrich et al. 2016):
 * every text can be encoded, and decoding gives it back. (Half a surrogate pair is no text; it
 * becomes a question mark.)
 */
public final class BpeTokenizer extends BaseTokenizer {
  static final String END_OF_TEXT = "<|endoftext|>";

  private final ObjectNode layout;
  private final boolean trimOffsets;
  private final BpeMerges merges;
  private final byte[][] bytes;
  private final int[] byteIds = new int[256];
  private final PieceCache cache = new PieceCache();

  /**
   * Puts the parts together.
   *
   * @param vocabulary in the byte alphabet, but for special tokens
   * @param merges pairs of tokens, by rank
   * @param template of the model's input
   * @param trimOffsets whether the places of tokens leave spaces out
   * @param layout the file without vocabulary and merges
   * @throws IllegalArgumentException where the parts do not fit together
   */
  BpeTokenizer(
      Vocabulary vocabulary,
      List<String[]> merges,
      Template template,
      boolean trimOffsets,
      ObjectNode layout) {
    super(vocabulary, template);
    this.layout = layout;
    this.trimOffsets = trimOffsets;
    Map<String, Integer> ids = vocabulary.plain();
    vocabulary.added().forEach(token -> ids.remove(token.content()));
    this.bytes = new byte[vocabulary.size()][];
    for (int id = 0; id < bytes.length; id++) {
      String token = vocabulary.token(id);
      bytes[id] =
          ids.containsKey(token)
              ? ByteAlphabet.read(token)
              : token.getBytes(StandardCharsets.UTF_8);
      if (bytes[id] == null) {
        throw new IllegalArgumentException(
            "token " + id + " (" + Quoted.plain(token) + ") is not written in the byte alphabet");
      }
    }
    for (int value = 0; value < 256; value++) {
      Integer id = ids.get(String.valueOf(ByteAlphabet.character(value)));
      if (id == null) {
        throw new IllegalArgumentException(
            "the vocabulary has no token for byte "
                + value
                + "; a byte-level vocabulary has all 256");
      }
      byteIds[value] = id;
    }
    this.merges = new BpeMerges(ids, merges);
  }

  /**
   * Learns merges from a text.
   *
   * @param text not empty
   * @param size of the vocabulary: 256 bytes, merges, and the end-of-text token; fewer where the
   *     text has no more pairs
   * @return the tokenizer
   */
  public static BpeTokenizer train(CharSequence text, int size) {
    return Training.byteLevel(text, size);
  }

  @Override
  void append(String text, int from, int to, TokenBuffer out) {
    for (int at = from; at < to; ) {
      int end = PreTokenizer.end(text, at, to);
      out.add(cache.get(text, at, end, this::encodePiece), at);
      at = end;
    }
  }

  private Piece encodePiece(String piece) {
    byte[] utf8 = piece.getBytes(StandardCharsets.UTF_8);
    int[] symbols = new int[utf8.length];
    for (int i = 0; i < utf8.length; i++) {
      symbols[i] = byteIds[utf8[i] & 0xff];
    }
    int[] starts = new int[utf8.length];
    int[] ends = new int[utf8.length];
    int at = 0;
    for (int i = 0; i < piece.length(); ) {
      int c = piece.codePointAt(i);
      int end = i + Character.charCount(c);
      boolean half = c >= 0xD800 && c <= 0xDFFF;
      int count = c < 0x80 || half ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
      for (int last = at + count; at < last; at++) {
        starts[at] = i;
        ends[at] = end;
      }
      i = end;
    }
    TokenBuffer tokens = new TokenBuffer(utf8.length, true);
    merges.apply(symbols, (id, from, to) -> place(tokens, id, starts[from], ends[to - 1]));
    return tokens.piece();
  }

  private void place(TokenBuffer tokens, int id, int start, int end) {
    byte[] token = bytes[id];
    if (trimOffsets) {
      for (int i = 0; i < token.length && token[i] == ' ' && start < end; i++) {
        start++;
      }
      for (int i = token.length - 1; i >= 0 && token[i] == ' ' && start < end; i--) {
        end--;
      }
    }
    tokens.add(id, start, end);
  }

  @Override
  public TokenDecoder decoder() {
    return new Utf8Decoder();
  }

  /** Holds the bytes of a character back until it is complete. */
  private final class Utf8Decoder implements TokenDecoder {
    private final ByteArrayOutputStream pending = new ByteArrayOutputStream();

    @Override
    public String push(int id) {
      pending.writeBytes(bytes[id]);
      byte[] all = pending.toByteArray();
      int complete = completeLength(all);
      pending.reset();
      pending.write(all, complete, all.length - complete);
      return new String(all, 0, complete, StandardCharsets.UTF_8);
    }

    @Override
    public String flush() {
      String rest = pending.toString(StandardCharsets.UTF_8);
      pending.reset();
      return rest;
    }
  }

  /** The length without a character at the end that more bytes could complete. */
  private static int completeLength(byte[] text) {
    for (int back = 1; back <= Math.min(3, text.length); back++) {
      int value = text[text.length - back] & 0xff;
      if (value >= 0xC0) {
        int needed = value >= 0xF0 ? 4 : value >= 0xE0 ? 3 : 2;
        return value < 0xF8 && needed > back ? text.length - back : text.length;
      }
      if (value < 0x80) {
        return text.length;
      }
    }
    return text.length;
  }

  @Override
  ObjectNode layout() {
    return layout;
  }

  @Override
  List<String[]> merges() {
    return merges.merges();
  }
}
