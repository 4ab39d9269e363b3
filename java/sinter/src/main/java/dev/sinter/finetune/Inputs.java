package dev.sinter.finetune;

import dev.sinter.text.Encoding;
import dev.sinter.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Texts as a model reads them: through the tokenizer's template (BERT); between GPT-1's start,
 * delimiter and extract tokens (Radford et al. 2018, section 3.3); with GPT-2's end of text between
 * the two of a pair.
 */
final class Inputs {
  private final Tokenizer tokenizer;
  private final int length;
  private final List<Integer> marks;

  /**
   * @param length the most tokens of an input; what is longer is cut off, of a pair the longer
   *     first
   * @param marks GPT-1's start, delimiter and extract; none: another family
   */
  Inputs(Tokenizer tokenizer, int length, List<Integer> marks) {
    this.tokenizer = tokenizer;
    this.length = length;
    this.marks = marks;
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  int length() {
    return length;
  }

  /** A text alone: words of a tagger, without marks. */
  Encoding plain(String text) {
    return tokenizer.encoding(text, length);
  }

  Encoding text(String text) {
    if (marks.isEmpty()) {
      return tokenizer.encoding(text, length);
    }
    int[] ids = tokenizer.encode(text);
    return join(List.of(cut(ids, length - 2)), marks.get(0), -1, marks.get(2));
  }

  Encoding pair(String text, String second) {
    int between = marks.isEmpty() ? tokenizer.endOfText().orElse(-1) : marks.get(1);
    boolean templated = marks.isEmpty() && tokenizer.encoding("").length() > 0;
    if (templated || between < 0) {
      return tokenizer.encoding(text, second, length);
    }
    int added = marks.isEmpty() ? 1 : 3;
    int[] a = tokenizer.encode(text);
    int[] b = tokenizer.encode(second);
    int room = Math.max(0, length - added);
    int first = Math.min(a.length, Math.max(room - b.length, (room + 1) / 2));
    int other = Math.min(b.length, room - first);
    return join(
        List.of(cut(a, first), cut(b, other)),
        marks.isEmpty() ? -1 : marks.get(0),
        between,
        marks.isEmpty() ? -1 : marks.get(2));
  }

  /**
   * A pair as GPT-1 reads what has no order (Radford et al. 2018, section 3.3): in both; as other
   * families do, in its own.
   */
  List<Encoding> orders(List<String> texts) {
    if (marks.isEmpty()) {
      return List.of(of(texts));
    }
    List<String> turned = new ArrayList<>(texts);
    Collections.reverse(turned);
    return List.of(of(texts), of(turned));
  }

  Encoding of(List<String> texts) {
    return texts.size() == 1 ? text(texts.get(0)) : pair(texts.get(0), texts.get(1));
  }

  private static int[] cut(int[] ids, int most) {
    return ids.length <= most ? ids : Arrays.copyOf(ids, Math.max(0, most));
  }

  /** The parts with tokens around and between them; -1: none there. */
  private static Encoding join(List<int[]> parts, int start, int between, int end) {
    IntStream all = start < 0 ? IntStream.empty() : IntStream.of(start);
    for (int i = 0; i < parts.size(); i++) {
      all = i == 0 ? all : IntStream.concat(all, IntStream.of(between));
      all = IntStream.concat(all, Arrays.stream(parts.get(i)));
    }
    return Encoding.of((end < 0 ? all : IntStream.concat(all, IntStream.of(end))).toArray());
  }
}
