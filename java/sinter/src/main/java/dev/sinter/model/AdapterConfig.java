package dev.sinter.model;

import java.util.List;

/**
 * Few parameters that are added to a model and train in its place, which stays as it is: how many,
 * where and how they begin.
 *
 * <p>Modules are called as in Hugging Face's classes, {@code transformer.h.0.attn.c_attn}.
 */
public sealed interface AdapterConfig permits LoraConfig, AdaLoraConfig, BottleneckConfig {
  /**
   * Returns the modules that train whole: the adapter has copies of its own of their weights.
   *
   * @return ends of their paths; empty: a task's own head alone, as PEFT has it by its task type
   */
  List<String> modulesToSave();

  /**
   * Returns what the adapter was made over.
   *
   * @return the model's folder or name ({@code base_model_name_or_path}); empty: it is not known
   */
  String base();

  /**
   * Names modules that train whole.
   *
   * @param modules ends of their paths, as {@code classifier}
   * @return new settings
   */
  AdapterConfig withModulesToSave(String... modules);

  /**
   * Names what the adapter is made over.
   *
   * @param name the model's folder or name
   * @return new settings
   */
  AdapterConfig withBase(String name);

  /** Refuses settings with one line. */
  static void check(boolean right, String message) {
    if (!right) {
      throw new IllegalArgumentException(message);
    }
  }

  /** Checks a probability of dropout. */
  static void checkDropout(double dropout) {
    check(dropout >= 0 && dropout < 1, "dropout " + dropout + "; 0 or more and less than 1");
  }
}
