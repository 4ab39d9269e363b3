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
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Sequences of one length that grow together over a key/value cache: a prompt in chunks, then a
 * token at a time. To be used by one thread at a time.
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
  private final Gpt2 layers;
  private final int batch;
  private final KvCache cache;
  private final Sampler sampler;
  private final Map<Key, Step> steps = new LinkedHashMap<>(16, 0.75f, true);
  private Step oneToken; // the graph of every step but the first, found without a key
  private final int[] chosen;
  private int length;

  /** What a graph gives back. */
  private enum Output {
    NONE,
    TOKEN,
    LOGITS
  }

  private record Key(int length, Output output) {}

  /** A graph for one number of new tokens. */
  private record Step(Graph graph, Tensor tokens, Tensor output) {}

  Decoder(LanguageModel model, Gpt2 layers, int batch, int capacity) {
    this.model = model;
    this.layers = layers;
    this.batch = batch;
    GptConfig config = model.config();
    cache =
        new KvCache(
            model.parameters(),
            config.layers(),
            batch,
            config.heads(),
            config.width() / config.heads(),
            capacity);
    sampler = new Sampler(model.parameters(), batch, capacity + 1);
    chosen = new int[batch];
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
   * How many tokens each sequence has in the cache.
   *
   * @return tokens
   */
  public int length() {
    return length;
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
   * @param tokens how many stay
   */
  public void truncate(int tokens) {
    for (int i = 0; i < batch; i++) {
      cache.setLength(i, tokens);
    }
    length = tokens;
  }

  /**
   * Appends tokens to each sequence and chooses the next.
   *
   * @param tokens [batch, count] one sequence after the other
   * @param draw the number of this choice: equal seeds and numbers draw alike
   * @return the chosen tokens [batch], -1 where no logit was finite; valid until the next call
   */
  public int[] next(int[] tokens, long draw) {
    int count = checkTokens(tokens);
    int done = 0;
    for (; count - done > CHUNK; done += CHUNK) {
      run(step(CHUNK, Output.NONE), tokens, count, done, CHUNK, draw);
    }
    Step last = step(count - done, Output.TOKEN);
    run(last, tokens, count, done, count - done, draw);
    last.graph.ints(last.output).get(chosen);
    return chosen;
  }

  /**
   * Appends tokens to each sequence and computes the logits after each of them.
   *
   * @param tokens [batch, count] one sequence after the other; at most 512 each
   * @return fp32 [batch, count, vocabulary], valid until the next call
   */
  public FloatBuffer logits(int[] tokens) {
    int count = checkTokens(tokens);
    if (count > CHUNK) {
      throw new IllegalArgumentException(count + " tokens at once; at most " + CHUNK);
    }
    Step step = step(count, Output.LOGITS);
    run(step, tokens, count, 0, count, 0);
    return step.graph.floats(step.output);
  }

  private int checkTokens(int[] tokens) {
    if (tokens.length == 0 || tokens.length % batch != 0) {
      throw new IllegalArgumentException(
          tokens.length + " tokens for " + batch + " sequences; as many for each, at least 1");
    }
    int count = tokens.length / batch;
    if (length + count > cache.capacity()) {
      throw new IllegalArgumentException(
          (length + count) + " tokens do not fit into a cache of " + cache.capacity());
    }
    for (int token : tokens) {
      if (token < 0 || token >= model.config().vocabulary()) {
        throw new IllegalArgumentException(
            "token " + token + "; the vocabulary has 0 to " + (model.config().vocabulary() - 1));
      }
    }
    return count;
  }

  private void run(Step step, int[] tokens, int stride, int from, int count, long draw) {
    IntBuffer staged = step.graph.ints(step.tokens);
    for (int i = 0; i < batch; i++) {
      staged.put(tokens, i * stride + from, count);
    }
    step.graph.run(draw, false);
    cache.advance(count);
    length += count;
  }

  private Step step(int count, Output output) {
    if (count == 1 && output == Output.TOKEN) {
      if (oneToken == null) {
        oneToken = trace(count, output);
      }
      return oneToken;
    }
    Key key = new Key(count, output);
    Step step = steps.get(key);
    if (step == null) {
      step = trace(count, output);
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

  private Step trace(int count, Output output) {
    GraphBuilder g = new GraphBuilder(model.parameters(), Mode.INFERENCE, Recompute.NONE, 0);
    Tensor tokens = g.input("tokens", batch, count);
    Tensor x =
        layers.blocks(g, model.parameters(), tokens, cache.lengths(), layers.cached(g, cache));
    if (output == Output.NONE) {
      return new Step(g.build(), tokens, null);
    }
    if (output == Output.LOGITS) {
      Tensor logits = g.output(layers.head(g, model.parameters(), x));
      return new Step(g.build(), tokens, logits);
    }
    Tensor logits = layers.head(g, model.parameters(), g.lastRows(x));
    Tensor token = g.output(g.sample(logits, sampler));
    return new Step(g.build(), tokens, token);
  }

  /** Gives the cache back. Closing twice is harmless. */
  @Override
  public void close() {
    steps.values().forEach(step -> step.graph.close());
    steps.clear();
    if (oneToken != null) {
      oneToken.graph.close();
    }
    sampler.close();
    cache.close();
  }
}
