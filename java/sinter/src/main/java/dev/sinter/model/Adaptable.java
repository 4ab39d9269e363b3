package dev.sinter.model;

import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.ParameterSpec;
import java.util.List;
import java.util.Map;

/**
 * What an adapter has to know of the model under it.
 *
 * @param family its model_type
 * @param taskType what PEFT calls its task; null: it has no word for it
 * @param specs its parameters
 * @param linear the weights of its linear modules, and their layout
 * @param projections the names of those that end a sub-layer
 * @param head the module of the task's own head; null: there is none
 * @param prefix that Hugging Face's class with a head has before the paths of all other modules
 * @param unprefixed beginnings of names that never have it
 * @param prefixed whether this model's class has it
 */
record Adaptable(
    String family,
    String taskType,
    List<ParameterSpec> specs,
    Map<String, Layout> linear,
    List<String> projections,
    String head,
    String prefix,
    List<String> unprefixed,
    boolean prefixed) {

  /** The same, its modules with the prefix or without: as a file has them. */
  Adaptable withPrefix(boolean value) {
    return new Adaptable(
        family, taskType, specs, linear, projections, head, prefix, unprefixed, value);
  }

  /** What Hugging Face's class calls a module, or a parameter, of ours. */
  String path(String name) {
    return prefixed && unprefixed.stream().noneMatch(name::startsWith) ? prefix + name : name;
  }

  /** What PEFT changes where nothing is said. */
  Targets usualTargets(boolean adaLora) {
    return switch (family) {
      case "gpt2", "gpt3" -> Targets.of("c_attn");
      case "bert" -> Targets.of("query", "value");
      // PEFT has none for Marian: these are BART's.
      case "marian" ->
          adaLora
              ? Targets.of("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
              : Targets.of("q_proj", "v_proj");
      default ->
          throw new IllegalArgumentException(
              "there are no usual targets in " + family + "; name some, as c_attn");
    };
  }
}
