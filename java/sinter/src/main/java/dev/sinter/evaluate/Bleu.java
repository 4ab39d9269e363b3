package dev.sinter.evaluate;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * BLEU of a corpus (Papineni et al. 2002, section 2.3) as sacreBLEU computes it by default (Post
 * 2018): mteval's tokens (13a), case kept, and of the n-gram orders without a match the first has
 * 1/2 match, the next 1/4, and so on (Chen and Cherry 2014, method 3).
 */
public final class Bleu {
  private static final int ORDER = 4;

  /** ASCII punctuation but apostrophe, comma, hyphen and full stop. */
  private static final Pattern PUNCTUATION = Pattern.compile("([ -&(-+/:-@\\[-`{-~])");

  private static final Pattern POINT_AFTER_OTHER = Pattern.compile("([^0-9])([.,])");
  private static final Pattern POINT_BEFORE_OTHER = Pattern.compile("([.,])([^0-9])");
  private static final Pattern HYPHEN_AFTER_DIGIT = Pattern.compile("([0-9])(-)");

  private Bleu() {}

  /**
   * BLEU and what it is made of.
   *
   * @param bleu from 0 to 100
   * @param precisions of 1-grams to 4-grams, smoothed, from 0 to 100
   * @param brevityPenalty exp(1 - reference / hypothesis) where the hypotheses are shorter, else 1
   * @param hypothesisLength tokens of all hypotheses
   * @param referenceLength tokens of the references: of each segment's the closest in length to its
   *     hypothesis, of two the shorter
   * @param matches clipped n-grams that a reference has, for n of 1 to 4
   * @param totals n-grams of the hypotheses, for n of 1 to 4
   * @param signature how it was computed, in sacreBLEU's words but for the version
   */
  public record Score(
      double bleu,
      List<Double> precisions,
      double brevityPenalty,
      long hypothesisLength,
      long referenceLength,
      List<Long> matches,
      List<Long> totals,
      String signature) {}

  /**
   * Scores a corpus.
   *
   * @param hypotheses one text a segment
   * @param references the texts that each segment is compared with, at least one for each; a
   *     segment may have more of them than another
   * @return BLEU over all segments
   * @throws IllegalArgumentException where there are not as many segments, or one has no reference
   */
  public static Score corpus(List<String> hypotheses, List<List<String>> references) {
    Check.sameSize("hypotheses", hypotheses.size(), "segments of references", references.size());
    long[] matches = new long[ORDER];
    long[] totals = new long[ORDER];
    long hypothesisLength = 0;
    long referenceLength = 0;
    for (int i = 0; i < hypotheses.size(); i++) {
      if (references.get(i).isEmpty()) {
        throw new IllegalArgumentException("segment " + (i + 1) + " has no reference");
      }
      List<String> hypothesis = tokenize(hypotheses.get(i));
      List<List<String>> tokenized = references.get(i).stream().map(Bleu::tokenize).toList();
      hypothesisLength += hypothesis.size();
      referenceLength += closestLength(hypothesis.size(), tokenized);
      for (int n = 1; n <= ORDER; n++) {
        totals[n - 1] += Math.max(0, hypothesis.size() - n + 1);
        matches[n - 1] += clippedMatches(ngrams(hypothesis, n), tokenized, n);
      }
    }
    double brevityPenalty = brevityPenalty(hypothesisLength, referenceLength);
    double[] precisions = smoothedPrecisions(matches, totals);
    double logSum = 0;
    for (double precision : precisions) {
      logSum += Math.log(precision);
    }
    return new Score(
        brevityPenalty * Math.exp(logSum / ORDER),
        list(precisions),
        brevityPenalty,
        hypothesisLength,
        referenceLength,
        list(matches),
        list(totals),
        "nrefs:" + referenceCount(references) + "|case:mixed|eff:no|tok:13a|smooth:exp");
  }

  /**
   * Splits a text into tokens by the rules of mteval-v13a: punctuation apart from words, but full
   * stops and commas in numbers, apostrophes, and hyphens that follow no digit.
   *
   * @param text of one segment
   * @return its tokens
   */
  public static List<String> tokenize(String text) {
    String line =
        Words.stripTrailing(text)
            .replace("<skipped>", "")
            .replace("-\n", "")
            .replace("\n", " ")
            .replace("&quot;", "\"")
            .replace("&amp;", "&")
            .replace("&lt;", "<")
            .replace("&gt;", ">");
    line = PUNCTUATION.matcher(" " + line + " ").replaceAll(" $1 ");
    line = POINT_AFTER_OTHER.matcher(line).replaceAll("$1 $2 ");
    line = POINT_BEFORE_OTHER.matcher(line).replaceAll(" $1 $2");
    line = HYPHEN_AFTER_DIGIT.matcher(line).replaceAll("$1 $2 ");
    return Words.split(line);
  }

  private static Map<List<String>, Integer> ngrams(List<String> tokens, int n) {
    Map<List<String>, Integer> counts = new HashMap<>();
    for (int i = 0; i + n <= tokens.size(); i++) {
      counts.merge(tokens.subList(i, i + n), 1, Integer::sum);
    }
    return counts;
  }

  /** Each n-gram of the hypothesis counts at most as often as in the reference that has most. */
  private static long clippedMatches(
      Map<List<String>, Integer> hypothesis, List<List<String>> references, int n) {
    Map<List<String>, Integer> most = new HashMap<>();
    for (List<String> reference : references) {
      ngrams(reference, n).forEach((ngram, count) -> most.merge(ngram, count, Math::max));
    }
    long matches = 0;
    for (Map.Entry<List<String>, Integer> ngram : hypothesis.entrySet()) {
      matches += Math.min(ngram.getValue(), most.getOrDefault(ngram.getKey(), 0));
    }
    return matches;
  }

  private static int closestLength(int length, List<List<String>> references) {
    int closest = references.get(0).size();
    for (List<String> reference : references) {
      int distance = Math.abs(reference.size() - length);
      int least = Math.abs(closest - length);
      if (distance < least || (distance == least && reference.size() < closest)) {
        closest = reference.size();
      }
    }
    return closest;
  }

  private static double brevityPenalty(long hypothesisLength, long referenceLength) {
    if (hypothesisLength >= referenceLength) {
      return 1;
    }
    return hypothesisLength == 0 ? 0 : Math.exp(1 - (double) referenceLength / hypothesisLength);
  }

  private static double[] smoothedPrecisions(long[] matches, long[] totals) {
    double[] precisions = new double[ORDER];
    // An n-gram that matches holds shorter ones that do: without a single token there is nothing.
    if (matches[0] == 0) {
      return precisions;
    }
    double share = 1;
    for (int i = 0; i < ORDER && totals[i] > 0; i++) {
      double matched = matches[i];
      if (matches[i] == 0) {
        share /= 2;
        matched = share;
      }
      precisions[i] = 100 * matched / totals[i];
    }
    return precisions;
  }

  private static String referenceCount(List<List<String>> references) {
    List<Integer> counts = references.stream().map(List::size).distinct().toList();
    return counts.size() == 1 ? counts.get(0).toString() : "var";
  }

  private static List<Double> list(double[] values) {
    List<Double> list = new ArrayList<>();
    for (double value : values) {
      list.add(value);
    }
    return List.copyOf(list);
  }

  private static List<Long> list(long[] values) {
    List<Long> list = new ArrayList<>();
    for (long value : values) {
      list.add(value);
    }
    return List.copyOf(list);
  }
}
