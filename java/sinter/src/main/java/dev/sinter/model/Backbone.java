package dev.sinter.model;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import java.util.List;

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

  int width();

  int context();

  int vocabulary();

  boolean hasSegments();

  /** Of new weights. */
  float deviation();
}
