package dev.sinter.finetune;

import dev.sinter.graph.ParameterSpec;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The layers that a model's parameters belong to, by their Hugging Face names. */
final class Layers {
  private static final Pattern LAYER = Pattern.compile("(?:^|\\.)(?:h|layers?)\\.(\\d+)\\.");
  private static final Pattern EMBEDDING =
      Pattern.compile("^(embeddings|wte|wpe|tokens_embed|positions_embed|model\\.shared)\\b.*");
  private static final Pattern PART = Pattern.compile("(\\d{1,6})(?:-(\\d{1,6}))?");
  private static final String EMBEDDINGS = "embeddings";

  private final int count;

  Layers(List<ParameterSpec> specs) {
    count = specs.stream().mapToInt(spec -> layer(spec.name()) + 1).max().orElse(0);
  }

  /** A parameter's layer, from 0; -1: in none. */
  private static int layer(String name) {
    Matcher layer = LAYER.matcher(name);
    return layer.find() ? Integer.parseInt(layer.group(1)) : -1;
  }

  private static boolean isEmbedding(String name) {
    return EMBEDDING.matcher(name).matches();
  }

  /**
   * Which parameters stay as they are.
   *
   * @param parts {@code embeddings}, layers' numbers and ranges of them, with commas: {@code
   *     embeddings,0-5}
   * @throws IllegalArgumentException where there is no such layer
   */
  Predicate<String> frozen(String parts) {
    Set<Integer> layers = new HashSet<>();
    boolean embeddings = false;
    for (String part : parts.split(",", -1)) {
      Matcher range = PART.matcher(part.strip());
      if (part.strip().equals(EMBEDDINGS)) {
        embeddings = true;
        continue;
      }
      int from = range.matches() ? Integer.parseInt(range.group(1)) : -1;
      int to = from < 0 || range.group(2) == null ? from : Integer.parseInt(range.group(2));
      if (from < 0 || to < from || to >= count) {
        throw new IllegalArgumentException(
            "frozen "
                + part
                + "; embeddings, and layers from 0 to "
                + (count - 1)
                + ", as embeddings,0-"
                + (count - 1));
      }
      for (int layer = from; layer <= to; layer++) {
        layers.add(layer);
      }
    }
    boolean first = embeddings;
    return name -> layers.contains(layer(name)) || first && isEmbedding(name);
  }

  /**
   * Rates that fall from the head, which has 1, to the embeddings (Howard and Ruder 2018, section
   * 3.2).
   *
   * @param decay from a layer to the one below it
   */
  ToDoubleFunction<String> rates(double decay) {
    return name -> {
      int below = isEmbedding(name) ? count + 1 : layer(name) < 0 ? 0 : count - layer(name);
      return Math.pow(decay, below);
    };
  }
}
