package dev.sinter.generate;

import java.util.List;

/** Finds stop texts in text that comes in pieces: what may be the beginning of one is held back. */
final class StopTexts {
  private final List<String> stops;
  private final StringBuilder held = new StringBuilder();
  private boolean met;

  StopTexts(List<String> stops) {
    this.stops = stops;
  }

  /** Whether a stop text has been met: there is no text after it. */
  boolean met() {
    return met;
  }

  /** Takes the next piece and gives the text that is certain now. */
  String push(String piece) {
    if (met) {
      return "";
    }
    if (stops.isEmpty()) {
      return piece;
    }
    held.append(piece);
    int end = -1;
    for (String stop : stops) {
      int at = held.indexOf(stop);
      if (at >= 0 && (end < 0 || at < end)) {
        end = at;
      }
    }
    if (end >= 0) {
      met = true;
      String last = held.substring(0, end);
      held.setLength(0);
      return last;
    }
    return release(held.length() - possibleBeginning());
  }

  /** Gives what was held back when no more text comes. */
  String flush() {
    return release(held.length());
  }

  private String release(int length) {
    String text = held.substring(0, length);
    held.delete(0, length);
    return text;
  }

  /** The length of the longest end of the held text that a stop text begins with. */
  private int possibleBeginning() {
    int longest = 0;
    for (String stop : stops) {
      for (int length = Math.min(stop.length() - 1, held.length()); length > longest; length--) {
        if (held.indexOf(stop.substring(0, length), held.length() - length) >= 0) {
          longest = length;
        }
      }
    }
    return longest;
  }
}
