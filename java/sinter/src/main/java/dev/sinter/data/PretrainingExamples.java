package dev.sinter.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.IntPredicate;

/**
 * BERT's pre-training examples (Devlin et al. 2019, section 3.1 and appendix A): two segments, of
 * which the second follows the first in half of the cases, with some tokens masked. Each epoch cuts
 * and masks anew; equal seeds give equal examples.
 */
public final class PretrainingExamples {
  private static final double MASKED = 0.15;
  private static final double SHORT = 0.1;

  private final List<List<int[]>> documents;
  private final Settings settings;
  private final long seed;
  private long epoch = -1;
  private long first;
  private List<Example> examples = List.of();

  /**
   * How examples are made.
   *
   * @param length the most tokens of one, 8 or more
   * @param mostMasked the most masked tokens of one; the paper has 20 at 128 tokens
   * @param cls the token that begins each, [CLS]
   * @param sep the token that ends each segment, [SEP]
   * @param mask the token that stands for a masked one, [MASK]
   * @param vocabulary number of tokens, of which a random one replaces a tenth of the masked
   * @param continues whether a token continues the word of the one before it: then whole words are
   *     masked; null: single tokens are
   */
  public record Settings(
      int length,
      int mostMasked,
      int cls,
      int sep,
      int mask,
      int vocabulary,
      IntPredicate continues) {
    /** Checks the ranges. */
    public Settings {
      if (length < 8 || mostMasked < 1) {
        throw new IllegalArgumentException(
            "length " + length + ", most masked " + mostMasked + "; at least 8 and 1");
      }
    }
  }

  /**
   * One example.
   *
   * @param tokens with the masks
   * @param segments 0 or 1 for each token
   * @param places of the masked tokens, ascending
   * @param words that stood there
   * @param follows whether the second segment follows the first
   */
  @SuppressWarnings("ArrayRecordComponent") // a value that is handed over, never compared
  public record Example(int[] tokens, int[] segments, int[] places, int[] words, boolean follows) {}

  /**
   * Takes the text.
   *
   * @param documents each a list of sentences' tokens; at least two, none empty
   * @param settings how examples are made
   * @param seed of cuts, orders and masks
   */
  public PretrainingExamples(List<List<int[]>> documents, Settings settings, long seed) {
    if (documents.size() < 2 || documents.stream().anyMatch(List::isEmpty)) {
      throw new IllegalArgumentException(
          documents.size()
              + " documents; two or more, separated by empty lines, so that a segment can come from"
              + " another");
    }
    this.documents = documents.stream().map(List::copyOf).toList();
    this.settings = settings;
    this.seed = seed;
  }

  /**
   * Gives an example. Numbers that ascend are cheap, a smaller one begins at the first epoch.
   *
   * @param number from 0, over all epochs
   * @return the example
   */
  public Example get(long number) {
    if (epoch < 0 || number < first) {
      epoch = 0;
      first = 0;
      examples = make(0);
    }
    while (number >= first + examples.size()) {
      first += examples.size();
      examples = make(++epoch);
    }
    return examples.get(Math.toIntExact(number - first));
  }

  private List<Example> make(long number) {
    SplittableRandom random = new SplittableRandom(seed ^ (number + 1) * 0x9E3779B97F4A7C15L);
    List<Example> all = new ArrayList<>();
    for (int document = 0; document < documents.size(); document++) {
      cut(document, random, all);
    }
    for (int i = all.size() - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      Example other = all.get(j);
      all.set(j, all.get(i));
      all.set(i, other);
    }
    return all;
  }

  /** Cuts a document into pieces of sentences, and each piece into two segments. */
  private void cut(int document, SplittableRandom random, List<Example> all) {
    int room = settings.length - 3;
    List<int[]> sentences = documents.get(document);
    int target = target(room, random);
    List<int[]> piece = new ArrayList<>();
    int tokens = 0;
    for (int i = 0; i < sentences.size(); i++) {
      piece.add(sentences.get(i));
      tokens += sentences.get(i).length;
      if (i < sentences.size() - 1 && tokens < target) {
        continue;
      }
      int split = piece.size() == 1 ? 1 : 1 + random.nextInt(piece.size() - 1);
      int[] a = join(piece.subList(0, split));
      boolean follows = piece.size() > 1 && random.nextDouble() >= 0.5;
      int[] b;
      if (follows) {
        b = join(piece.subList(split, piece.size()));
      } else {
        b = other(document, target - a.length, random);
        i -= piece.size() - split; // what was not used comes again
      }
      if (a.length > 0 && b.length > 0) {
        all.add(example(a, b, room, follows, random));
      }
      piece.clear();
      tokens = 0;
      target = target(room, random);
    }
  }

  private static int target(int room, SplittableRandom random) {
    return random.nextDouble() < SHORT ? 2 + random.nextInt(room - 1) : room;
  }

  /** Sentences of another document. */
  private int[] other(int document, int target, SplittableRandom random) {
    int another = random.nextInt(documents.size() - 1);
    List<int[]> sentences = documents.get(another < document ? another : another + 1);
    int from = random.nextInt(sentences.size());
    int to = from;
    int tokens = 0;
    while (to < sentences.size() && (to == from || tokens < target)) {
      tokens += sentences.get(to++).length;
    }
    return join(sentences.subList(from, to));
  }

  private static int[] join(List<int[]> sentences) {
    return sentences.stream().flatMapToInt(Arrays::stream).toArray();
  }

  private Example example(int[] a, int[] b, int room, boolean follows, SplittableRandom random) {
    int aFrom = 0;
    int aTo = a.length;
    int bFrom = 0;
    int bTo = b.length;
    while (aTo - aFrom + bTo - bFrom > room) { // the longer one, at either end
      boolean front = random.nextBoolean();
      if (aTo - aFrom > bTo - bFrom) {
        aFrom += front ? 1 : 0;
        aTo -= front ? 0 : 1;
      } else {
        bFrom += front ? 1 : 0;
        bTo -= front ? 0 : 1;
      }
    }
    int aLength = aTo - aFrom;
    int bLength = bTo - bFrom;
    int[] tokens = new int[aLength + bLength + 3];
    int[] segments = new int[tokens.length];
    tokens[0] = settings.cls;
    System.arraycopy(a, aFrom, tokens, 1, aLength);
    tokens[aLength + 1] = settings.sep;
    System.arraycopy(b, bFrom, tokens, aLength + 2, bLength);
    tokens[tokens.length - 1] = settings.sep;
    Arrays.fill(segments, aLength + 2, tokens.length, 1);
    return mask(tokens, segments, aLength + 1, follows, random);
  }

  private Example mask(
      int[] tokens, int[] segments, int middle, boolean follows, SplittableRandom random) {
    List<int[]> words = words(tokens, middle);
    int wanted = (int) Math.round(tokens.length * MASKED);
    wanted = Math.min(settings.mostMasked, Math.max(1, wanted));
    boolean[] chosen = new boolean[tokens.length];
    int count = 0;
    for (int i = words.size() - 1; i >= 0 && count < wanted; i--) {
      int[] word = words.set(random.nextInt(i + 1), words.get(i));
      if (count + word[1] - word[0] <= wanted) {
        Arrays.fill(chosen, word[0], word[1], true);
        count += word[1] - word[0];
      }
    }
    int[] places = new int[count];
    int[] originals = new int[count];
    int next = 0;
    for (int i = 0; i < tokens.length; i++) {
      if (chosen[i]) {
        places[next] = i;
        originals[next++] = tokens[i];
        tokens[i] = masked(tokens[i], random);
      }
    }
    return new Example(tokens, segments, places, originals, follows);
  }

  /** Begin and end of each word, or token, that may be masked. */
  private List<int[]> words(int[] tokens, int middle) {
    List<int[]> words = new ArrayList<>();
    for (int i = 1; i < tokens.length - 1; i++) {
      if (i == middle) {
        continue;
      }
      int[] last = words.isEmpty() ? null : words.get(words.size() - 1);
      boolean continues =
          settings.continues != null
              && last != null
              && last[1] == i
              && settings.continues.test(tokens[i]);
      if (continues) {
        last[1]++;
      } else {
        words.add(new int[] {i, i + 1});
      }
    }
    return words;
  }

  /** Of ten masked tokens eight are hidden, one is another, one stays. */
  private int masked(int token, SplittableRandom random) {
    int chance = random.nextInt(10);
    return chance < 8 ? settings.mask : chance == 8 ? random.nextInt(settings.vocabulary) : token;
  }
}
