package dev.sinter.model;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import java.util.List;
import java.util.Map;

/** A model up to its last hidden states: what heads stand on. */
interface Backbone {
  /** Without those of heads. */
  List<ParameterSpec> parameters();

  /**
   * The last hidden states.
   *
   * @param tokens int32 [batch, length]
   * @param segments int32 [batch, length], or null without
   * @param lengths int32 [batch]: how many tokens of each sequence are no padding
   * @return [batch, length, width]
   */
  Tensor hidden(GraphBuilder g, Weights p, Tensor tokens, Tensor segments, Tensor lengths);

  /** The weights of its linear modules, and their layout. */
  Map<String, Layout> linear();

  /**
   * What an adapter has to know of a model on it.
   *
   * @param taskType what PEFT calls its task, or null
   * @param specs of the whole model
   * @param linear of the whole model
   * @param head the module of the task's own head, or null
   * @param prefixed whether Hugging Face's class has the prefix before the backbone's names
   */
  Adaptable adaptable(
      String taskType,
      List<ParameterSpec> specs,
      Map<String, Layout> linear,
      String head,
      boolean prefixed);

  int width();

  int context();

  int vocabulary();

  boolean hasSegments();

  /** Of new weights. */
  float deviation();
}
