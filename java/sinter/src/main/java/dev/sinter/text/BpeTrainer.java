package dev.sinter.text;

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
 * trainer. WordPiece vocabularies are learned the same way, as there; only the marks of tokens
 * inside a word differ.
 */
final class BpeTrainer {
  private final String prefix;
  private final List<String> tokens = new ArrayList<>();
  private final Map<String, Integer> ids = new HashMap<>();
  private final List<String[]> merges = new ArrayList<>();
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

  /**
   * Begins a vocabulary.
   *
   * @param prefix of tokens inside a word, which a merge drops; may be empty
   */
  BpeTrainer(String prefix) {
    this.prefix = prefix;
  }

  /** Adds a token, if it is not there yet. */
  int token(String token) {
    Integer known = ids.putIfAbsent(token, tokens.size());
    if (known != null) {
      return known;
    }
    tokens.add(token);
    return tokens.size() - 1;
  }

  /** Adds a word as the ids of its smallest tokens. */
  void word(int[] symbols, long count) {
    words.add(symbols);
    lengths.add(symbols.length);
    counts.add(count);
  }

  /** The tokens by id. */
  List<String> tokens() {
    return tokens;
  }

  /** The merges by rank. */
  List<String[]> merges() {
    return merges;
  }

  /** Merges until there are so many tokens, or no pairs. */
  void learn(int size) {
    for (int word = 0; word < words.size(); word++) {
      count(word, 1);
    }
    pairCounts.forEach((pair, count) -> queue.add(new Candidate(pair, count)));
    while (tokens.size() < size && !queue.isEmpty()) {
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
      String second = tokens.get(right);
      merges.add(new String[] {tokens.get(left), second});
      boolean inside = !prefix.isEmpty() && second.startsWith(prefix);
      int id = token(tokens.get(left) + (inside ? second.substring(prefix.length()) : second));
      replace(best.pair, left, right, id);
    }
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
