package dev.sinter.text;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;

/**
 * Byte-pair encoding (Sennrich et al. 2016): neighbours become one token, the pair that was learned
 * first before others, until no pair is left.
 */
final class BpeMerges {
  private final List<String[]> merges;

  /**
   * Pairs in a table with open addresses, and by the place of each its rank and what it becomes.
   */
  private final long[] pairs;

  private final int[] ranks;
  private final int[] merged;
  private final int shift;

  private static final long NONE = -1;

  /** Takes a token of the outcome. */
  interface Sink {
    void token(int id, int from, int to);
  }

  /**
   * Looks the merges up in a vocabulary.
   *
   * @param ids of the tokens
   * @param merges pairs of tokens, by rank
   * @throws IllegalArgumentException where a token is missing
   */
  BpeMerges(Map<String, Integer> ids, List<String[]> merges) {
    this.merges = merges;
    int bits = 64 - Long.numberOfLeadingZeros(2L * merges.size() + 1);
    pairs = new long[1 << bits];
    ranks = new int[1 << bits];
    merged = new int[1 << bits];
    shift = 64 - bits;
    Arrays.fill(pairs, NONE);
    for (int rank = 0; rank < merges.size(); rank++) {
      String[] pair = merges.get(rank);
      Integer left = ids.get(pair[0]);
      Integer right = ids.get(pair[1]);
      Integer both = ids.get(pair[0] + pair[1]);
      if (left == null || right == null || both == null) {
        throw new IllegalArgumentException(
            "merge "
                + rank
                + " ("
                + Quoted.plain(pair[0])
                + " "
                + Quoted.plain(pair[1])
                + ") names a token that the vocabulary does not have");
      }
      int place = place(left, right);
      if (pairs[place] == NONE) {
        pairs[place] = pair(left, right);
        ranks[place] = rank;
        merged[place] = both;
      }
    }
  }

  private static long pair(int left, int right) {
    return (long) left << 32 | right;
  }

  /** Where the pair is in the table, or the free place where it would be. */
  private int place(int left, int right) {
    long pair = pair(left, right);
    int place = (int) (pair * 0x9E3779B97F4A7C15L >>> shift);
    while (pairs[place] != NONE && pairs[place] != pair) {
      place = place + 1 & pairs.length - 1;
    }
    return place;
  }

  /** The merges by rank. */
  List<String[]> merges() {
    return merges;
  }

  /** A pair that may be merged: the one of the lowest rank, then the leftmost, comes first. */
  private record Candidate(int rank, int at, int left, int right, int id)
      implements Comparable<Candidate> {
    @Override
    public int compareTo(Candidate other) {
      return rank != other.rank ? Integer.compare(rank, other.rank) : Integer.compare(at, other.at);
    }
  }

  /** Merges what can be; symbols are overwritten. */
  void apply(int[] symbols, Sink sink) {
    int length = symbols.length;
    int[] next = new int[length];
    int[] previous = new int[length];
    PriorityQueue<Candidate> queue = new PriorityQueue<>();
    for (int i = 0; i < length; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
      if (i + 1 < length) {
        offer(queue, symbols, i, i + 1);
      }
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
    for (int i = 0; i < length; i = next[i]) {
      sink.token(symbols[i], i, next[i]);
    }
  }

  private void offer(PriorityQueue<Candidate> queue, int[] symbols, int left, int right) {
    int place = place(symbols[left], symbols[right]);
    if (pairs[place] != NONE) {
      queue.add(new Candidate(ranks[place], left, symbols[left], symbols[right], merged[place]));
    }
  }
}
