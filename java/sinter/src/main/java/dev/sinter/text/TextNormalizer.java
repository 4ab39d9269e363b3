package dev.sinter.text;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.IntPredicate;

/** One step between a text and its words: Hugging Face's normalizers of the same names. */
interface TextNormalizer {
  MappedText apply(MappedText text);

  /** Steps one after the other; none leaves the text as it is. */
  static TextNormalizer sequence(List<TextNormalizer> steps) {
    return text -> {
      for (TextNormalizer step : steps) {
        text = step.apply(text);
      }
      return text;
    };
  }

  /**
   * BERT's: cleans, sets ideographs apart, strips accents, lowers the case (Devlin et al. 2019, the
   * released BasicTokenizer). In this order, which is Hugging Face's; Google's lowers the case
   * before it strips accents.
   */
  static TextNormalizer bert(
      boolean clean, boolean ideographs, boolean stripAccents, boolean lowercase) {
    List<TextNormalizer> steps = new ArrayList<>();
    if (clean) {
      steps.add(TextNormalizer::clean);
    }
    if (ideographs) {
      steps.add(TextNormalizer::setIdeographsApart);
    }
    if (stripAccents) {
      steps.add(TextNormalizer::decompose);
      steps.add(text -> without(text, Characters::nonspacing));
    }
    if (lowercase) {
      steps.add(TextNormalizer::lower);
    }
    return sequence(steps);
  }

  /** Drops controls, and makes every white space a space. */
  static MappedText clean(MappedText text) {
    MappedText clean = new MappedText(text.length());
    for (int at = 0; at < text.length(); ) {
      int c = text.codePoint(at);
      if (!Characters.control(c)) {
        clean.append(Characters.space(c) ? ' ' : c, text.start(at), text.end(at));
      }
      at += Character.charCount(c);
    }
    return clean;
  }

  /** Puts spaces around ideographs. */
  static MappedText setIdeographsApart(MappedText text) {
    MappedText apart = new MappedText(text.length());
    for (int at = 0; at < text.length(); ) {
      int c = text.codePoint(at);
      boolean ideograph = Characters.ideograph(c);
      if (ideograph) {
        apart.append(' ', text.start(at), text.end(at));
      }
      apart.append(c, text.start(at), text.end(at));
      if (ideograph) {
        apart.append(' ', text.start(at), text.end(at));
      }
      at += Character.charCount(c);
    }
    return apart;
  }

  /** Unicode's form NFD. */
  static MappedText decompose(MappedText text) {
    MappedText decomposed = new MappedText(text.length());
    List<Mark> marks = new ArrayList<>();
    for (int at = 0; at < text.length(); ) {
      int c = text.codePoint(at);
      if (c < 0xC0) {
        flush(marks, decomposed);
        decomposed.append(c, text.start(at), text.end(at));
      } else {
        int[] parts = Characters.decompose(c).codePoints().toArray();
        for (int i = 0; i < parts.length; i++) {
          int part = parts[i];
          int order = Characters.combining(part);
          if (order == 0) {
            flush(marks, decomposed);
            decomposed.append(part, text.start(at), text.end(at));
          } else {
            marks.add(new Mark(part, order, i > 0, text.start(at), text.end(at)));
          }
        }
      }
      at += Character.charCount(c);
    }
    flush(marks, decomposed);
    return decomposed;
  }

  /** A mark on the last character, to be put in order with others; or a part of one. */
  record Mark(int codePoint, int order, boolean part, int start, int end) {}

  /**
   * Puts marks in order. Their places stay as they were, so that places only grow; a part has that
   * of what is before it.
   */
  private static void flush(List<Mark> marks, MappedText out) {
    List<Mark> places = List.of();
    if (marks.size() > 1) {
      places = marks.stream().filter(mark -> !mark.part).toList();
      marks.sort(Comparator.comparingInt(Mark::order));
    }
    int used = 0;
    for (Mark mark : marks) {
      Mark place = mark.part || places.isEmpty() ? mark : places.get(used++);
      int last = out.length() - 1;
      boolean follow = mark.part && last >= 0;
      out.append(
          mark.codePoint,
          follow ? out.start(last) : place.start,
          follow ? out.end(last) : place.end);
    }
    marks.clear();
  }

  /** Lower case, one character at a time. */
  static MappedText lower(MappedText text) {
    MappedText lower = new MappedText(text.length());
    for (int at = 0; at < text.length(); ) {
      int c = text.codePoint(at);
      if (c < 128) {
        lower.append(c >= 'A' && c <= 'Z' ? c + 32 : c, text.start(at), text.end(at));
      } else {
        int place = at;
        Characters.lower(c)
            .codePoints()
            .forEach(part -> lower.append(part, text.start(place), text.end(place)));
      }
      at += Character.charCount(c);
    }
    return lower;
  }

  /** Drops marks of every kind. */
  static MappedText stripAccents(MappedText text) {
    return without(text, Characters::mark);
  }

  private static MappedText without(MappedText text, IntPredicate dropped) {
    MappedText kept = new MappedText(text.length());
    for (int at = 0; at < text.length(); ) {
      int c = text.codePoint(at);
      if (!dropped.test(c)) {
        kept.append(c, text.start(at), text.end(at));
      }
      at += Character.charCount(c);
    }
    return kept;
  }
}
