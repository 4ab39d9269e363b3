package dev.sinter.model;

import dev.sinter.io.FormatException;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * Which linear modules an adapter changes, in the words of PEFT's {@code target_modules}: ends of
 * their paths, or one regular expression for the whole path.
 *
 * @param modules ends of paths, as {@code c_attn} or {@code self.query}; empty with an expression,
 *     or for those that PEFT takes for the model's family
 * @param expression that a whole path matches; null: the modules count
 * @param layers of these alone, by their numbers; empty: of all
 */
public record Targets(List<String> modules, String expression, List<Integer> layers) {
  private static final int MOST_CHARACTERS = 1000;

  /** What matching one path may cost: an expression of a stranger can ask for ages. */
  private static final int MOST_STEPS = 1 << 20;

  private static final Pattern LAYER = Pattern.compile(".*?\\.[^.]*\\.(\\d+)\\..*");

  /** Those that PEFT takes for the model's family. */
  public static final Targets USUAL = new Targets(List.of(), null, List.of());

  /** Checks the expression. */
  public Targets {
    modules = List.copyOf(modules);
    layers = List.copyOf(layers);
    if (expression != null) {
      AdapterConfig.check(
          modules.isEmpty() && layers.isEmpty(),
          "target modules are a list or an expression; layers go with a list alone");
      compile(expression);
    }
  }

  /**
   * Takes modules by the ends of their paths.
   *
   * @param modules as {@code query}
   * @return the targets
   */
  public static Targets of(String... modules) {
    return new Targets(List.of(modules), null, List.of());
  }

  /**
   * Takes modules by an expression.
   *
   * @param expression that their whole path matches
   * @return the targets
   * @throws IllegalArgumentException where it is none
   */
  public static Targets matching(String expression) {
    return new Targets(List.of(), expression, List.of());
  }

  /**
   * Takes those of some layers alone.
   *
   * @param numbers from 0
   * @return new targets
   */
  public Targets inLayers(Integer... numbers) {
    return new Targets(modules, expression, List.of(numbers));
  }

  /** Whether nothing is said but to take what is usual. */
  boolean areUsual() {
    return modules.isEmpty() && expression == null;
  }

  /** Whether the module of that path is one. */
  boolean match(String path) {
    return expression != null
        ? matches(expression, path)
        : modules.stream().anyMatch(module -> endsWith(path, module)) && isInLayers(path);
  }

  private boolean isInLayers(String path) {
    Matcher layer = LAYER.matcher(path);
    return layers.isEmpty()
        || layer.matches() && layers.stream().anyMatch(i -> layer.group(1).equals(i.toString()));
  }

  /** Whether a module is meant by the end of its path. */
  static boolean endsWith(String path, String end) {
    return path.equals(end) || path.endsWith("." + end);
  }

  /** Whether an expression matches a path, or its end from a dot on ({@code rank_pattern}). */
  static boolean matchesEnd(String expression, String path) {
    return matches("(.*\\.)?(" + expression + ")", path);
  }

  private static boolean matches(String expression, String path) {
    return compile(expression).matcher(new Metered(path, new int[1])).matches();
  }

  static Pattern compile(String expression) {
    AdapterConfig.check(
        expression.length() <= MOST_CHARACTERS,
        "an expression for modules has at most " + MOST_CHARACTERS + " characters");
    try {
      return Pattern.compile(expression);
    } catch (PatternSyntaxException e) {
      throw new IllegalArgumentException(
          FormatException.quote(expression) + " is no regular expression: " + e.getDescription(),
          e);
    }
  }

  /** A path whose characters are counted as they are looked at. */
  private record Metered(String text, int[] steps) implements CharSequence {
    @Override
    public char charAt(int index) {
      AdapterConfig.check(
          ++steps[0] <= MOST_STEPS, "an expression for modules takes too long; make it simpler");
      return text.charAt(index);
    }

    @Override
    public int length() {
      return text.length();
    }

    @Override
    public CharSequence subSequence(int start, int end) {
      return new Metered(text.substring(start, end), steps);
    }

    @Override
    public String toString() {
      return text;
    }
  }
}
