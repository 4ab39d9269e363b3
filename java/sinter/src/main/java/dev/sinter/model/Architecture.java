package dev.sinter.model;

import dev.sinter.graph.Activation;
import java.util.List;
import java.util.function.IntFunction;
import java.util.function.IntUnaryOperator;

/**
 * A stack of Transformer blocks (Vaswani et al. 2017, section 3) in the words in which the families
 * differ. Each family is one value of this; every word gives a new one.
 */
final class Architecture implements Cloneable {
  private final int layers;
  private final int width;
  private final int heads;
  private final boolean causal;
  private int inner;
  private Activation activation = Activation.RELU;
  private Norm norm = Norm.AFTER;
  private float epsilon = 1e-5f;
  private IntUnaryOperator window = layer -> 0;
  private boolean cross;
  private float attentionDropout;
  private float residualDropout;
  private float deviation;
  private float residualDeviation;
  private IntFunction<Names> names;

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
   * @param crossQuery queries of cross-attention; this and the next three are null without
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

  private Architecture(int layers, int width, int heads, boolean causal) {
    this.layers = layers;
    this.width = width;
    this.heads = heads;
    this.causal = causal;
    this.inner = 4 * width;
  }

  /** Blocks in which a position sees itself and what comes before it. */
  static Architecture decoder(int layers, int width, int heads) {
    return new Architecture(layers, width, heads, true);
  }

  /** Blocks in which a position sees all that is no padding. */
  static Architecture encoder(int layers, int width, int heads) {
    return new Architecture(layers, width, heads, false);
  }

  private Architecture copy() {
    try {
      return (Architecture) clone();
    } catch (CloneNotSupportedException e) {
      throw new AssertionError(e);
    }
  }

  /** Where the norms stand, and what is added to their variance. */
  Architecture norm(Norm place, float added) {
    Architecture next = copy();
    next.norm = place;
    next.epsilon = added;
    return next;
  }

  /** Width and activation of the feed-forward layers. */
  Architecture feedForward(int wide, Activation kind) {
    Architecture next = copy();
    next.inner = wide;
    next.activation = kind;
    return next;
  }

  /** How many positions attention of a layer reaches back, its own included; 0: all. */
  Architecture window(IntUnaryOperator ofLayer) {
    Architecture next = copy();
    next.window = ofLayer;
    return next;
  }

  /** Each block attends to an encoder's output as well. */
  Architecture crossAttention() {
    Architecture next = copy();
    next.cross = true;
    return next;
  }

  /**
   * Probabilities, in training, that an attention weight and an output of a sub-layer is dropped.
   */
  Architecture dropout(float attention, float residual) {
    Architecture next = copy();
    next.attentionDropout = attention;
    next.residualDropout = residual;
    return next;
  }

  /** Deviations of new weights: of most, and of those that write to the residual stream. */
  Architecture initial(double most, double residual) {
    Architecture next = copy();
    next.deviation = (float) most;
    next.residualDeviation = (float) residual;
    return next;
  }

  /** The names of each block's parameters. */
  Architecture names(IntFunction<Names> ofLayer) {
    Architecture next = copy();
    next.names = ofLayer;
    return next;
  }

  int layers() {
    return layers;
  }

  int width() {
    return width;
  }

  int heads() {
    return heads;
  }

  boolean causal() {
    return causal;
  }

  int inner() {
    return inner;
  }

  Activation activation() {
    return activation;
  }

  Norm norm() {
    return norm;
  }

  float epsilon() {
    return epsilon;
  }

  int window(int layer) {
    return window.applyAsInt(layer);
  }

  boolean cross() {
    return cross;
  }

  float attentionDropout() {
    return attentionDropout;
  }

  float residualDropout() {
    return residualDropout;
  }

  float deviation() {
    return deviation;
  }

  float residualDeviation() {
    return residualDeviation;
  }

  Names names(int layer) {
    return names.apply(layer);
  }
}
