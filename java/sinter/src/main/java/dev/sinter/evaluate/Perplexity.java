package dev.sinter.evaluate;

import dev.sinter.data.Tokens;
import dev.sinter.model.EvaluationGraph;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LanguageModel;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/**
 * The mean loss of a model on a text, in windows as long as the context. With a stride below the
 * window each window overlaps the one before, and only tokens that are new are counted: every token
 * then has at least {@code context - stride} tokens before it. Only the first token of the text is
 * never predicted.
 */
public final class Perplexity implements AutoCloseable {
  /** Windows are evaluated together until they hold this many tokens. */
  private static final int TOKENS_AT_ONCE = 1024;

  private static final int IGNORED = -100;

  private final EvaluationGraph graph;
  private final int batch;
  private final int context;
  private final int stride;

  /** Traces a pass that gives the loss of each token. */
  @FunctionalInterface
  private interface LossGraph {
    EvaluationGraph of(int batch, int length);
  }

  /**
   * Prepares the evaluation of a model.
   *
   * @param model whose loss
   * @param context tokens of a window
   * @param stride tokens from window to window, at most {@code context}
   */
  public Perplexity(LanguageModel model, int context, int stride) {
    this(model::lossGraph, context, stride);
  }

  /**
   * Prepares the evaluation of a packed model.
   *
   * @param model whose loss
   * @param context tokens of a window
   * @param stride tokens from window to window, at most {@code context}
   */
  public Perplexity(FrozenModel model, int context, int stride) {
    this(model::lossGraph, context, stride);
  }

  private Perplexity(LossGraph loss, int context, int stride) {
    if (stride < 1 || stride > context) {
      throw new IllegalArgumentException("stride " + stride + "; 1 to the context of " + context);
    }
    this.context = context;
    this.stride = stride;
    this.batch = Math.max(1, TOKENS_AT_ONCE / context);
    this.graph = loss.of(batch, context);
  }

  /**
   * What an evaluation found.
   *
   * @param totalLoss the sum of the losses in nats
   * @param tokens how many losses
   */
  public record Result(double totalLoss, long tokens) {
    /**
     * The mean loss.
     *
     * @return nats a token
     */
    public double loss() {
      return totalLoss / tokens;
    }

    /**
     * The perplexity per token, which depends on the tokenizer.
     *
     * @return e to the mean loss
     */
    public double perplexity() {
      return perplexityPer(tokens);
    }

    /**
     * The perplexity per word, byte or character, which models with other tokenizers share.
     *
     * @param units how many of them the predicted text has
     * @return e to the total loss over the units
     */
    public double perplexityPer(long units) {
      return Math.exp(totalLoss / units);
    }
  }

  /** Hears how far an evaluation is. */
  @FunctionalInterface
  public interface Progress {
    /**
     * Some windows are done.
     *
     * @param windows so far
     * @param all of them
     */
    void at(long windows, long all);
  }

  /**
   * Evaluates the model on a text.
   *
   * @param tokens at least two
   * @param mostWindows evaluates just so many windows, evenly spread over the text; 0: all
   * @param progress hears how far it is
   * @return the losses' sum and count
   */
  public Result evaluate(Tokens tokens, long mostWindows, Progress progress) {
    if (tokens.length() < 2) {
      throw new IllegalArgumentException(
          "the text has " + tokens.length() + " tokens; at least 2 are needed, one to predict");
    }
    long windows = (tokens.length() - 2) / stride + 1;
    // A window whose tokens all lie in the one before has nothing new.
    while (windows > 1 && (windows - 2) * stride + context >= tokens.length() - 1) {
      windows--;
    }
    long chosen = mostWindows == 0 ? windows : Math.min(mostWindows, windows);
    double total = 0;
    long counted = 0;
    for (long done = 0; done < chosen; done += batch) {
      int rows = (int) Math.min(batch, chosen - done);
      IntBuffer inputs = graph.tokens();
      IntBuffer targets = graph.targets();
      long scored = 0;
      for (int row = 0; row < batch; row++) {
        long window = row < rows ? (done + row) * windows / chosen : -1;
        scored += fill(tokens, window, inputs, targets);
      }
      FloatBuffer losses = graph.run();
      for (int i = 0; i < losses.limit(); i++) {
        total += losses.get(i);
      }
      counted += scored;
      progress.at(done + rows, chosen);
    }
    return new Result(total, counted);
  }

  /**
   * Writes a window, or a row that counts for nothing; returns how many of its tokens are scored.
   */
  private long fill(Tokens tokens, long window, IntBuffer inputs, IntBuffer targets) {
    long start = window * stride;
    long scored = 0;
    for (int i = 0; i < context; i++) {
      boolean there = window >= 0 && start + i + 1 < tokens.length();
      boolean isNew = window == 0 || i >= context - stride;
      inputs.put(there ? tokens.get(start + i) : 0);
      targets.put(there && isNew ? tokens.get(start + i + 1) : IGNORED);
      scored += there && isNew ? 1 : 0;
    }
    return scored;
  }

  @Override
  public void close() {
    graph.close();
  }
}
