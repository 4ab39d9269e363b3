package dev.sinter.model;

import dev.sinter.graph.Activation;
import java.util.List;
import java.util.function.IntFunction;
import java.util.function.IntUnaryOperator;

/**
 * A stack of Transformer blocks (Vaswani et al. 2017, section 3) in the words in which the families
 * differ. Each family is one value of this.
 *
 * @param layers number of blocks
 * @param width of the hidden states
 * @param heads of attention
 * @param inner width of the feed-forward layer
 * @param norm where each sub-layer's layer norm stands
 * @param epsilon of layer norm
 * @param activation of the feed-forward layer
 * @param causal whether a position sees no later one
 * @param window how many positions attention of a layer reaches back, its own included; 0: all
 * @param cross whether each block attends to an encoder's output as well
 * @param attentionDropout probability that an attention weight is dropped in training
 * @param residualDropout of the output of each sub-layer
 * @param deviation of new weights
 * @param residualDeviation of new weights that write to the residual stream
 * @param names of each block's parameters
 */
record Architecture(
    int layers,
    int width,
    int heads,
    int inner,
    Norm norm,
    float epsilon,
    Activation activation,
    boolean causal,
    IntUnaryOperator window,
    boolean cross,
    float attentionDropout,
    float residualDropout,
    float deviation,
    float residualDeviation,
    IntFunction<Names> names) {

  /** Where the norm of a sub-layer stands. */
  enum Norm {
    /** y = x + f(norm(x)). */
    BEFORE,
    /** y = norm(x + f(x)). */
    AFTER
  }

  /**
   * What a block's parameters are called in Hugging Face's files; weights and biases hang on with
   * {@code .weight} and {@code .bias}.
   *
   * @param inByOut whether weights are [in, out], as Conv1D's are, not [out, in]
   * @param qkv one name, or those of queries, keys and values
   * @param project after attention
   * @param norm1 of attention
   * @param crossQuery queries of cross-attention, as the next four null without
   * @param crossKv keys and values of cross-attention
   * @param crossProject after cross-attention
   * @param crossNorm of cross-attention
   * @param up into the feed-forward layer
   * @param down out of it
   * @param norm2 of the feed-forward layer
   */
  record Names(
      boolean inByOut,
      List<String> qkv,
      String project,
      String norm1,
      String crossQuery,
      List<String> crossKv,
      String crossProject,
      String crossNorm,
      String up,
      String down,
      String norm2) {}
}
