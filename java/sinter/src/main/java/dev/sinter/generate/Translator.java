package dev.sinter.generate;

import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerDecoder;
import dev.sinter.model.TransformerModel;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * Finds targets of sources by beam search over an encoder-decoder. To be used by one thread at a
 * time; many may share a model.
 */
public final class Translator implements AutoCloseable {
  private final TransformerConfig config;
  private final TransformerDecoder decoder;
  private final Beams beams;
  private final int targetLength;

  /**
   * Prepares the caches.
   *
   * @param model whose weights
   * @param beams how the search goes
   * @param sourceLength the most tokens of a source
   * @param targetLength the most tokens of a target, the start token included
   */
  public Translator(TransformerModel model, Beams beams, int sourceLength, int targetLength) {
    this.config = model.config();
    this.beams = beams;
    this.targetLength = targetLength;
    this.decoder = model.decoder(1, beams.count(), sourceLength, targetLength);
  }

  /**
   * Finds the best targets of a source.
   *
   * @param source tokens, its end token included where the model was trained with one
   * @param sampling lengths and processors; where it names no end tokens, the model's counts
   * @return finished hypotheses, the best first; their ids are without the start token
   * @throws IllegalArgumentException for a source that does not fit, or settings that ask for
   *     sampling or stop texts
   * @throws ArithmeticException where the model's logits are not finite
   */
  public List<Hypothesis> translate(int[] source, Sampling sampling) {
    Sampling ended =
        sampling.ending().tokens().isEmpty()
            ? sampling.withEndTokens(Set.of(config.end()))
            : sampling;
    return BeamSearch.search(
        new Steps(source), new int[] {config.start()}, source, ended, beams, targetLength);
  }

  /** The encoder-decoder as beam search sees it. */
  private final class Steps implements StepFunction {
    private final int[] source;

    Steps(int[] source) {
      this.source = source;
    }

    @Override
    public int vocabulary() {
      return config.vocabulary();
    }

    @Override
    public void start(float[] logits) {
      decoder.encode(new int[][] {source});
      int[] starts = new int[beams.count()];
      Arrays.fill(starts, config.start());
      decoder.logits(starts).get(0, logits);
    }

    @Override
    public void step(int[] tokens, int[] parents, float[][] logits) {
      decoder.targets().reorder(parents);
      FloatBuffer all = decoder.logits(tokens);
      for (int i = 0; i < logits.length; i++) {
        all.get(i * config.vocabulary(), logits[i]);
      }
    }
  }

  @Override
  public void close() {
    decoder.close();
  }
}
