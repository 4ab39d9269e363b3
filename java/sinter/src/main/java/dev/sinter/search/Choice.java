package dev.sinter.search;

import static dev.sinter.io.FormatException.quote;

import java.math.BigDecimal;
import java.math.MathContext;
import java.util.List;
import java.util.SplittableRandom;

/** What an option's value is drawn from. */
public sealed interface Choice {
  /**
   * Draws a value.
   *
   * @param random moves on by one number, whatever the choice
   * @return the value as an option is written
   */
  String draw(SplittableRandom random);

  /**
   * One of some values, each as likely as the others. A single one is a constant.
   *
   * @param values at least one
   */
  record OneOf(List<String> values) implements Choice {
    /** Checks that there is a value. */
    public OneOf {
      values = List.copyOf(values);
      if (values.isEmpty()) {
        throw new IllegalArgumentException("there is nothing to choose from");
      }
    }

    /**
     * The same for all trials.
     *
     * @param value the value
     * @return the choice
     */
    public static OneOf constant(String value) {
      return new OneOf(List.of(value));
    }

    @Override
    public String draw(SplittableRandom random) {
      return values.get((int) (random.nextDouble() * values.size()));
    }
  }

  /**
   * Any number of a range, each as likely as the others.
   *
   * @param from the least
   * @param to the greatest
   */
  record Uniform(double from, double to) implements Choice {
    /** Checks the range. */
    public Uniform {
      checkRange(from, to);
    }

    @Override
    public String draw(SplittableRandom random) {
      return rounded(from + (to - from) * random.nextDouble(), from, to);
    }
  }

  /**
   * A number whose logarithm is uniform: for scales, as a learning rate's.
   *
   * @param from the least, above 0
   * @param to the greatest
   */
  record LogUniform(double from, double to) implements Choice {
    /** Checks the range. */
    public LogUniform {
      if (from <= 0) {
        throw new IllegalArgumentException("begins at " + from + "; above 0");
      }
      checkRange(from, to);
    }

    @Override
    public String draw(SplittableRandom random) {
      return rounded(from * Math.exp(Math.log(to / from) * random.nextDouble()), from, to);
    }
  }

  /**
   * Any whole number of a range, each as likely as the others.
   *
   * @param from the least
   * @param to the greatest
   */
  record Integers(int from, int to) implements Choice {
    /** Checks the range. */
    public Integers {
      checkRange(from, to);
    }

    @Override
    public String draw(SplittableRandom random) {
      double count = (double) to - from + 1;
      return Long.toString(from + (long) (count * random.nextDouble()));
    }
  }

  private static void checkRange(double from, double to) {
    if (!(from <= to) || !Double.isFinite(to - from)) {
      throw new IllegalArgumentException(
          quote(from + " to " + to) + " is no range; the lesser number comes first");
    }
  }

  /** To four digits: so a person can read a trial's value and type it again. */
  private static String rounded(double value, double from, double to) {
    double digits = new BigDecimal(value).round(new MathContext(4)).doubleValue();
    return Trial.text(Math.min(Math.max(digits, from), to));
  }
}
