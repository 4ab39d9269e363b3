package dev.sinter.text;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.PriorityQueue;
import java.util.concurrent.ConcurrentHashMap;

/**
 * GPT-2's byte-level byte-pair encoding (Radford et al. 2019, section 2.2; Sennrich et al. 2016):
 * every text can be encoded, and decoding gives it back.
 */
public final class BpeTokenizer implements Tokenizer {
  static final String END_OF_TEXT = "<|endoftext|>";
  private static final int CACHED_PIECES = 1 << 16;
  private static final int CACHED_LENGTH = 64;

  private final String[] tokens;
  private final byte[][] bytes;
  private final int[] byteIds = new int[256];
  private final List<String[]> merges;
  private final Map<Long, Merge> mergesByPair;
  private final Map<String, Integer> specials;
  private final Map<String, int[]> cache = new ConcurrentHashMap<>();

  /** Two tokens that become one; lower ranks first. */
  private record Merge(int rank, int id) {}

  /**
   * @param tokens in the byte alphabet, by id
   * @param merges pairs of tokens, by rank
   * @param specials ids of tokens that stand for themselves
   * @throws IllegalArgumentException where the parts do not fit together
   */
  BpeTokenizer(String[] tokens, List<String[]> merges, Map<String, Integer> specials) {
    this.tokens = tokens;
    this.merges = merges;
    this.specials = Map.copyOf(specials);
    this.bytes = new byte[tokens.length][];
    Map<String, Integer> ids = new HashMap<>();
    for (int id = 0; id < tokens.length; id++) {
      boolean special = specials.containsKey(tokens[id]) && specials.get(tokens[id]) == id;
      bytes[id] =
          special ? tokens[id].getBytes(StandardCharsets.UTF_8) : ByteAlphabet.read(tokens[id]);
      if (bytes[id] == null) {
        throw new IllegalArgumentException(
            "token " + id + " (" + tokens[id] + ") is not written in the byte alphabet");
      }
      if (!special) {
        ids.put(tokens[id], id);
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
    mergesByPair = new HashMap<>(merges.size() * 2);
    for (int rank = 0; rank < merges.size(); rank++) {
      String[] pair = merges.get(rank);
      Integer left = ids.get(pair[0]);
      Integer right = ids.get(pair[1]);
      Integer merged = ids.get(pair[0] + pair[1]);
      if (left == null || right == null || merged == null) {
        throw new IllegalArgumentException(
            "merge "
                + rank
                + " ("
                + pair[0]
                + " "
                + pair[1]
                + ") names a token that the vocabulary does not have");
      }
      mergesByPair.putIfAbsent(pair(left, right), new Merge(rank, merged));
    }
  }

  private static long pair(int left, int right) {
    return (long) left << 32 | right;
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
    return BpeTrainer.train(text, size);
  }

  @Override
  public int[] encode(CharSequence text) {
    int[] encoded = new int[Math.max(16, text.length() / 3)];
    int count = 0;
    for (int at = 0; at < text.length(); ) {
      int end = PreTokenizer.end(text, at);
      int[] piece = encodePiece(text.subSequence(at, end).toString());
      if (count + piece.length > encoded.length) {
        encoded = Arrays.copyOf(encoded, Math.max(2 * encoded.length, count + piece.length));
      }
      System.arraycopy(piece, 0, encoded, count, piece.length);
      count += piece.length;
      at = end;
    }
    return Arrays.copyOf(encoded, count);
  }

  private int[] encodePiece(String piece) {
    int[] known = cache.get(piece);
    if (known != null) {
      return known;
    }
    int[] ids = merge(piece.getBytes(StandardCharsets.UTF_8));
    if (piece.length() <= CACHED_LENGTH && cache.size() < CACHED_PIECES) {
      cache.put(piece, ids);
    }
    return ids;
  }

  /** A pair that may be merged: the one of the lowest rank, then the leftmost, comes first. */
  private record Candidate(int rank, int at, int left, int right, int id)
      implements Comparable<Candidate> {
    @Override
    public int compareTo(Candidate other) {
      return rank != other.rank ? Integer.compare(rank, other.rank) : Integer.compare(at, other.at);
    }
  }

  private int[] merge(byte[] piece) {
    int length = piece.length;
    int[] symbols = new int[length];
    int[] next = new int[length];
    int[] previous = new int[length];
    for (int i = 0; i < length; i++) {
      symbols[i] = byteIds[piece[i] & 0xff];
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    PriorityQueue<Candidate> queue = new PriorityQueue<>();
    for (int i = 0; i + 1 < length; i++) {
      offer(queue, symbols, i, i + 1);
    }
    while (!queue.isEmpty()) {
      Candidate best = queue.poll();
      int right = next[best.at];
      // One of the two may have been merged since; -1 marks a symbol that is gone.
      if (symbols[best.at] != best.left || right >= length || symbols[right] != best.right) {
        continue;
      }
      symbols[best.at] = best.id;
      symbols[right] = -1;
      next[best.at] = next[right];
      if (next[right] < length) {
        previous[next[right]] = best.at;
        offer(queue, symbols, best.at, next[best.at]);
      }
      if (previous[best.at] >= 0) {
        offer(queue, symbols, previous[best.at], best.at);
      }
    }
    return Arrays.stream(symbols).filter(symbol -> symbol >= 0).toArray();
  }

  private void offer(PriorityQueue<Candidate> queue, int[] symbols, int left, int right) {
    Merge merge = mergesByPair.get(pair(symbols[left], symbols[right]));
    if (merge != null) {
      queue.add(new Candidate(merge.rank, left, symbols[left], symbols[right], merge.id));
    }
  }

  @Override
  public int size() {
    return tokens.length;
  }

  @Override
  public String token(int id) {
    return tokens[id];
  }

  @Override
  public OptionalInt endOfText() {
    Integer id = specials.get(END_OF_TEXT);
    return id == null ? OptionalInt.empty() : OptionalInt.of(id);
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
  public void save(Path folder) throws IOException {
    TokenizerFile.save(this, folder);
  }

  /** The merges by rank. */
  List<String[]> merges() {
    return new ArrayList<>(merges);
  }

  /** Tokens that stand for themselves. */
  Map<String, Integer> specials() {
    return specials;
  }
}
