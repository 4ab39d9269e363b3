package dev.sinter.model;

import dev.sinter.graph.Graph;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.KvCache;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Sampler;
import dev.sinter.graph.Tensor;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Sequences that grow together over a key/value cache: prompts in chunks, of one length or of
 * several, then a token at a time. To be used by one thread at a time.
 */
public final class Decoder implements AutoCloseable {
  /**
   * Prompts are computed in chunks of at most this many tokens: larger ones need more memory and
   * gain no speed.
   */
  static final int CHUNK = 512;

  /** Graphs of prompt lengths that are kept beside the one of a single token. */
  private static final int KEPT_GRAPHS = 4;

  private final LanguageModel model;
  private final GptLayers layers;
  private final int batch;
  private final KvCache cache;
  private final Sampler sampler;
  private final Map<Key, Step> steps = new LinkedHashMap<>(16, 0.75f, true);

  /** The graphs of every step but the first, found without a key. */
  private final Map<Output, Step> oneToken = new EnumMap<>(Output.class);

  private final int[] chosen;
  private final float[] logprobs;
  private final float[] logprobsOfRun;

  /** What a graph gives back. */
  private enum Output {
    NONE,
    /** A token for each sequence. */
    TOKEN,
    /** The logits after each sequence's last token. */
    LAST_LOGITS,
    /** The logits after every token. */
    LOGITS
  }

  private record Key(int sequences, int length, Output output) {}

  /**
   * A graph for one number of new tokens.
   *
   * @param rows an input: the row of each sequence's last token; null where there is no choice
   */
  private record Step(Graph graph, Tensor tokens, Tensor rows, Tensor output) {}

  Decoder(LanguageModel model, GptLayers layers, int batch, int capacity) {
    this.model = model;
    this.layers = layers;
    this.batch = batch;
    GptConfig config = model.config();
    cache =
        new KvCache(
            model.weights(),
            config.layers(),
            batch,
            config.heads(),
            config.width() / config.heads(),
            capacity);
    sampler = new Sampler(model.weights(), batch, capacity + 1);
    chosen = new int[batch];
    logprobs = new float[batch];
    logprobsOfRun = new float[batch];
  }

  /**
   * How tokens are chosen.
   *
   * @return the sampler, to be set before tokens are asked for
   */
  public Sampler sampler() {
    return sampler;
  }

  /**
   * How many tokens the longest sequence has in the cache.
   *
   * @return tokens
   */
  public int length() {
    int most = 0;
    for (int i = 0; i < batch; i++) {
      most = Math.max(most, cache.length(i));
    }
    return most;
  }

  /** Forgets all tokens. */
  public void reset() {
    truncate(0);
    for (int i = 0; i < batch; i++) {
      sampler.forget(i);
    }
  }

  /**
   * Forgets the tokens after the first ones. The sampler's history stays.
   *
   * @param tokens how many of each sequence stay
   */
  public void truncate(int tokens) {
    for (int i = 0; i < batch; i++) {
      truncate(i, tokens);
    }
  }

  /**
   * Forgets a sequence's tokens after the first ones. The sampler's history stays.
   *
   * @param sequence which
   * @param tokens how many stay
   */
  public void truncate(int sequence, int tokens) {
    cache.setLength(sequence, tokens);
  }

  /**
   * Lets each sequence go on from where another stands: what beam search does between two tokens.
   * The sampler's history stays.
   *
   * @param parents [batch]
   */
  public void reorder(int[] parents) {
    cache.reorder(parents);
  }

  /**
   * Appends as many tokens to each sequence and chooses the next.
   *
   * @param tokens [batch, count] one sequence after the other
   * @param draw the number of this choice: equal seeds and numbers draw alike
   * @return the chosen tokens [batch], -1 where no logit was finite; valid until the next call
   */
  public int[] next(int[] tokens, long draw) {
    if (tokens.length != batch) {
      return next(rows(tokens), draw);
    }
    Step step = oneToken(tokens, draw, Output.TOKEN);
    step.graph.ints(step.output).get(chosen);
    sampler.logprobs(logprobs);
    return chosen;
  }

  /**
   * Appends tokens to each sequence and chooses the next. The sequences have equally many tokens so
   * far; from here on they need not.
   *
   * @param tokens a row for each sequence, at least one token in each
   * @param draw the number of this choice: equal seeds and numbers draw alike
   * @return the chosen tokens [batch], -1 where no logit was finite; valid until the next call
   */
  public int[] next(int[][] tokens, long draw) {
    checkRows(tokens);
    feed(
        tokens,
        Output.TOKEN,
        draw,
        (step, sequence) -> {
          sampler.logprobs(logprobsOfRun);
          chosen[sequence] = step.graph.ints(step.output).get(sequence);
          logprobs[sequence] = logprobsOfRun[sequence];
        });
    return chosen;
  }

  /**
   * Gives the log-probability of a token that was chosen last, under the unprocessed logits.
   *
   * @param sequence whose
   * @return natural logarithm
   */
  public float logprob(int sequence) {
    return logprobs[sequence];
  }

  /**
   * Appends as many tokens to each sequence and computes the logits after the last.
   *
   * @param tokens [batch, count] one sequence after the other
   * @param logits [batch][vocabulary], written
   */
  public void lastLogits(int[] tokens, float[][] logits) {
    if (tokens.length != batch) {
      lastLogits(rows(tokens), logits);
      return;
    }
    Step step = oneToken(tokens, 0, Output.LAST_LOGITS);
    FloatBuffer all = step.graph.floats(step.output);
    for (float[] row : logits) {
      all.get(row);
    }
  }

  /**
   * Appends tokens to each sequence and computes the logits after the last of each. The sequences
   * have equally many tokens so far; from here on they need not.
   *
   * @param tokens a row for each sequence, at least one token in each
   * @param logits [batch][vocabulary], written
   */
  public void lastLogits(int[][] tokens, float[][] logits) {
    checkRows(tokens);
    last(tokens, logits);
  }

  private void last(int[][] tokens, float[][] logits) {
    feed(
        tokens,
        Output.LAST_LOGITS,
        0,
        (step, sequence) -> {
          float[] row = logits[sequence];
          step.graph.floats(step.output).get(sequence * row.length, row);
        });
  }

  /**
   * Computes a prompt once, from which all sequences then go on.
   *
   * @param prompt at least one token, the first of every sequence
   * @param logits [vocabulary] after the last, written
   */
  public void start(int[] prompt, float[] logits) {
    truncate(0);
    last(new int[][] {prompt}, new float[][] {logits});
    cache.reorder(new int[batch]);
  }

  /**
   * Appends as many tokens to each sequence and computes the logits after each of them.
   *
   * @param tokens [batch, count] one sequence after the other; at most 512 each
   * @return fp32 [batch, count, vocabulary], valid until the next call
   */
  public FloatBuffer logits(int[] tokens) {
    int[][] rows = rows(tokens);
    int count = rows[0].length;
    if (count > CHUNK) {
      throw new IllegalArgumentException(count + " tokens at once; at most " + CHUNK);
    }
    Step[] last = new Step[1];
    feed(rows, Output.LOGITS, 0, (step, sequence) -> last[0] = step);
    return last[0].graph.floats(last[0].output);
  }

  private int[][] rows(int[] tokens) {
    if (tokens.length == 0 || tokens.length % batch != 0) {
      throw new IllegalArgumentException(
          tokens.length + " tokens for " + batch + " sequences; as many for each, at least 1");
    }
    int count = tokens.length / batch;
    int[][] rows = new int[batch][];
    for (int i = 0; i < batch; i++) {
      rows[i] = Arrays.copyOfRange(tokens, i * count, (i + 1) * count);
    }
    return rows;
  }

  private void checkRows(int[][] tokens) {
    if (tokens.length != batch) {
      throw new IllegalArgumentException(tokens.length + " rows for " + batch + " sequences");
    }
  }

  private void checkRoom(int count) {
    int length = length();
    if (length + count > cache.capacity()) {
      throw new IllegalArgumentException(
          (length + count) + " tokens do not fit into a cache of " + cache.capacity());
    }
  }

  private void checkTokens(int[] tokens) {
    for (int token : tokens) {
      if (token < 0 || token >= model.config().vocabulary()) {
        throw new IllegalArgumentException(
            "token " + token + "; the vocabulary has 0 to " + (model.config().vocabulary() - 1));
      }
    }
  }

  /** A token for each sequence, wherever each stands: nothing is allocated. */
  private Step oneToken(int[] tokens, long draw, Output output) {
    checkTokens(tokens);
    checkRoom(1);
    Step step = step(batch, 1, output);
    step.graph.ints(step.tokens).put(tokens);
    sampler.step(draw);
    step.graph.run(draw, false);
    cache.advance(1);
    return step;
  }

  /** Takes what a graph gave for a sequence. */
  private interface Taker {
    void take(Step step, int sequence);
  }

  /**
   * Computes prompts. A shorter one is padded behind its end: no token of its own sees the padding,
   * and what the cache then holds behind its end, the tokens to come overwrite.
   *
   * @param tokens a row for each sequence; or for the first alone, before the others have any
   * @param taker called for each sequence after the run that ends it
   */
  private void feed(int[][] tokens, Output output, long draw, Taker taker) {
    int start = length();
    int most = 0;
    for (int i = 0; i < tokens.length; i++) {
      if (tokens[i].length == 0 || cache.length(i) != start) {
        throw new IllegalArgumentException(
            tokens[i].length == 0
                ? "no tokens for sequence " + i + "; at least 1"
                : "several tokens at once for sequences of several lengths");
      }
      checkTokens(tokens[i]);
      most = Math.max(most, tokens[i].length);
    }
    checkRoom(most);
    for (int done = 0; done < most; done += CHUNK) {
      int from = done;
      int count = Math.min(CHUNK, most - from);
      boolean[] ends = new boolean[tokens.length];
      boolean any = false;
      for (int i = 0; i < tokens.length; i++) {
        ends[i] = tokens[i].length > from && tokens[i].length <= from + count;
        any |= ends[i];
      }
      Step step = step(tokens.length, count, any ? output : Output.NONE);
      stage(step, tokens, from, count);
      sampler.step(draw);
      step.graph.run(draw, false);
      cache.advance(count);
      for (int i = 0; i < tokens.length; i++) {
        if (ends[i]) {
          taker.take(step, i);
        }
      }
    }
    for (int i = 0; i < tokens.length; i++) {
      cache.setLength(i, start + tokens[i].length);
    }
  }

  private void stage(Step step, int[][] tokens, int from, int count) {
    IntBuffer staged = step.graph.ints(step.tokens);
    IntBuffer rows = step.rows == null ? null : step.graph.ints(step.rows);
    for (int i = 0; i < tokens.length; i++) {
      int own = Math.max(0, Math.min(count, tokens[i].length - from));
      staged.put(tokens[i], Math.min(from, tokens[i].length), own);
      for (int j = own; j < count; j++) {
        staged.put(0);
      }
      if (rows != null) {
        rows.put(i * count + Math.max(own, 1) - 1);
      }
    }
  }

  private Step step(int sequences, int count, Output output) {
    if (sequences == batch && count == 1) {
      Step step = oneToken.get(output);
      if (step == null) {
        step = trace(sequences, count, output);
        oneToken.put(output, step);
      }
      return step;
    }
    Key key = new Key(sequences, count, output);
    Step step = steps.get(key);
    if (step == null) {
      step = trace(sequences, count, output);
      steps.put(key, step);
      forgetOldest();
    }
    return step;
  }

  private void forgetOldest() {
    Iterator<Map.Entry<Key, Step>> oldest = steps.entrySet().iterator();
    while (steps.size() > KEPT_GRAPHS) {
      oldest.next().getValue().graph.close();
      oldest.remove();
    }
  }

  private Step trace(int sequences, int count, Output output) {
    GraphBuilder g = new GraphBuilder(model.weights(), Mode.INFERENCE, Recompute.NONE, 0);
    Tensor tokens = g.input("tokens", sequences, count);
    Tensor x = layers.blocks(g, model.weights(), tokens, cache.lengths(), layers.cached(g, cache));
    if (output == Output.NONE) {
      return new Step(g.build(), tokens, null, null);
    }
    Tensor rows = null;
    if (output != Output.LOGITS && count > 1) {
      rows = g.input("rows", sequences);
      x = g.view(g.gather("last rows", x, rows), sequences, 1, x.shape()[2]);
    }
    Tensor logits = layers.head(g, model.weights(), x);
    Tensor out = g.output(output == Output.TOKEN ? g.sample(logits, sampler) : logits);
    return new Step(g.build(), tokens, rows, out);
  }

  /** How many kernels choosing a token launches on a GPU, once that is recorded. */
  long kernels() {
    return oneToken.get(Output.TOKEN).graph.kernels();
  }

  /** Gives the cache back. Closing twice is harmless. */
  @Override
  public void close() {
    steps.values().forEach(step -> step.graph.close());
    steps.clear();
    oneToken.values().forEach(step -> step.graph.close());
    oneToken.clear();
    sampler.close();
    cache.close();
  }
}
