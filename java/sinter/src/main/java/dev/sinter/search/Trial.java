package dev.sinter.search;

import static dev.sinter.io.FormatException.quote;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * One draw from a space.
 *
 * @param number from 1, in the order of drawing
 * @param options the values by option, as they are written
 */
public record Trial(int number, Map<String, String> options) {
  /** Keeps the order of the options. */
  public Trial {
    options = Collections.unmodifiableMap(new LinkedHashMap<>(options));
  }

  /**
   * Looks a value up.
   *
   * @param option its name
   * @return the value
   * @throws IllegalArgumentException where there is no such option
   */
  public String text(String option) {
    String value = options.get(option);
    if (value == null) {
      throw new IllegalArgumentException(
          "no option " + quote(option) + " among " + options.keySet());
    }
    return value;
  }

  /**
   * Looks a number up.
   *
   * @param option its name
   * @return the value
   * @throws IllegalArgumentException where there is no such option, or it is no number
   */
  public double number(String option) {
    try {
      return Double.parseDouble(text(option));
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(
          "option " + quote(option) + " is no number: " + quote(text(option)), e);
    }
  }

  /** A number as a person writes it: 16 and 1e-5, where Java has 16.0 and 1.0E-5. */
  static String text(double number) {
    return Double.toString(number).replaceFirst("\\.0(?=E|$)", "").replace('E', 'e');
  }
}
