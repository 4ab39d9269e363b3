package dev.sinter.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Set;

/**
 * Learns byte-pair merges (Sennrich et al. 2016, algorithm 1): the most frequent pair becomes a
 * token, again and again. Among equals the pair of lower ids comes first, as in Hugging Face's
 * trainer.
 */
final class BpeTrainer {
  private static final int BYTES = 256;

  private final List<String> tokens = new ArrayList<>();
  private final List<int[]> words = new ArrayList<>();
  private final List<Integer> lengths = new ArrayList<>();
  private final List<Long> counts = new ArrayList<>();
  private final Map<Long, Long> pairCounts = new HashMap<>();
  private final Map<Long, Set<Integer>> wordsOfPair = new HashMap<>();
  private final PriorityQueue<Candidate> queue = new PriorityQueue<>();

  private record Candidate(long pair, long count) implements Comparable<Candidate> {
    @Override
    public int compareTo(Candidate other) {
      return count != other.count
          ? Long.compare(other.count, count)
          : Long.compare(pair, other.pair);
    }
  }

  private BpeTrainer(CharSequence text) {
    int[] byteIds = new int[BYTES];
    List<Character> alphabet = new ArrayList<>();
    for (int value = 0; value < BYTES; value++) {
      alphabet.add(ByteAlphabet.character(value));
    }
    alphabet.sort(null);
    for (int id = 0; id < BYTES; id++) {
      tokens.add(String.valueOf(alphabet.get(id)));
      byteIds[ByteAlphabet.value(alphabet.get(id))] = id;
    }
    Map<String, Long> pieces = new HashMap<>();
    for (int at = 0; at < text.length(); ) {
      int end = PreTokenizer.end(text, at);
      pieces.merge(text.subSequence(at, end).toString(), 1L, Long::sum);
      at = end;
    }
    pieces.forEach(
        (piece, count) -> {
          byte[] bytes = piece.getBytes(StandardCharsets.UTF_8);
          int[] word = new int[bytes.length];
          for (int i = 0; i < bytes.length; i++) {
            word[i] = byteIds[bytes[i] & 0xff];
          }
          words.add(word);
          lengths.add(word.length);
          counts.add(count);
        });
  }

  static BpeTokenizer train(CharSequence text, int size) {
    if (text.length() == 0) {
      throw new IllegalArgumentException(
          "the text is empty; byte-pair merges need a text to be learned from");
    }
    if (size <= BYTES) {
      throw new IllegalArgumentException(
          "a byte-level vocabulary of "
              + size
              + "; at least "
              + (BYTES + 1)
              + ": 256 bytes and the end-of-text token");
    }
    return new BpeTrainer(text).learn(size);
  }

  private BpeTokenizer learn(int size) {
    for (int word = 0; word < words.size(); word++) {
      count(word, 1);
    }
    pairCounts.forEach((pair, count) -> queue.add(new Candidate(pair, count)));
    List<String[]> merges = new ArrayList<>();
    Set<String> known = new HashSet<>(tokens);
    while (tokens.size() < size - 1 && !queue.isEmpty()) {
      Candidate best = queue.poll();
      long now = pairCounts.getOrDefault(best.pair, 0L);
      if (now != best.count) {
        if (now > 0) {
          queue.add(new Candidate(best.pair, now));
        }
        continue;
      }
      if (now < 1) {
        break;
      }
      int left = (int) (best.pair >>> 32);
      int right = (int) best.pair;
      String merged = tokens.get(left) + tokens.get(right);
      merges.add(new String[] {tokens.get(left), tokens.get(right)});
      int id = known.add(merged) ? tokens.size() : tokens.indexOf(merged);
      if (id == tokens.size()) {
        tokens.add(merged);
      }
      replace(best.pair, left, right, id);
    }
    Map<String, Integer> specials = Map.of(BpeTokenizer.END_OF_TEXT, tokens.size());
    tokens.add(BpeTokenizer.END_OF_TEXT);
    return new BpeTokenizer(tokens.toArray(String[]::new), merges, specials);
  }

  /** Adds the pairs of a word, {@code sign} times, to the counts. */
  private void count(int index, int sign) {
    int[] word = words.get(index);
    long times = sign * counts.get(index);
    for (int i = 0; i + 1 < lengths.get(index); i++) {
      long pair = (long) word[i] << 32 | word[i + 1];
      pairCounts.merge(pair, times, Long::sum);
      if (sign > 0) {
        wordsOfPair.computeIfAbsent(pair, key -> new HashSet<>()).add(index);
      }
    }
  }

  private void replace(long pair, int left, int right, int id) {
    Set<Long> grown = new HashSet<>();
    for (int index : wordsOfPair.remove(pair)) {
      count(index, -1);
      int[] word = words.get(index);
      int length = 0;
      for (int i = 0; i < lengths.get(index); i++) {
        boolean here = i + 1 < lengths.get(index) && word[i] == left && word[i + 1] == right;
        word[length++] = here ? id : word[i];
        i += here ? 1 : 0;
      }
      lengths.set(index, length);
      count(index, 1);
      for (int i = 0; i + 1 < length; i++) {
        if (word[i] == id || word[i + 1] == id) {
          grown.add((long) word[i] << 32 | word[i + 1]);
        }
      }
    }
    pairCounts.remove(pair);
    for (long next : grown) {
      queue.add(new Candidate(next, pairCounts.get(next)));
    }
  }
}
