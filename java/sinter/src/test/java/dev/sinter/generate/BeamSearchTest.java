package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.Decoder;
import dev.sinter.model.LanguageModel;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** What the goldens do not say: other models, other penalties, sampling that is not there. */
class BeamSearchTest {
  /** A model whose logits depend on the last token alone. */
  private static final class Chain implements StepFunction {
    private final double[][] probabilities;

    Chain(double[][] probabilities) {
      this.probabilities = probabilities;
    }

    @Override
    public int vocabulary() {
      return probabilities.length;
    }

    @Override
    public void start(float[] logits) {
      step(new int[] {0}, new int[] {0}, new float[][] {logits});
    }

    @Override
    public void step(int[] tokens, int[] parents, float[][] logits) {
      for (int i = 0; i < tokens.length; i++) {
        for (int j = 0; j < vocabulary(); j++) {
          logits[i][j] = (float) Math.log(probabilities[tokens[i]][j]);
        }
      }
    }
  }

  // 0 begins, 3 ends. The likeliest first token, 1, leads to an uncertain end; 2 to a certain one.
  private static final double[][] GARDEN = {
    {1e-9, 0.55, 0.44, 0.01}, {0.3, 0.2, 0.1, 0.4}, {0.01, 0.01, 0.01, 0.97}, {1, 1, 1, 1}
  };

  private static List<Hypothesis> search(Beams beams) {
    Sampling sampling = Sampling.greedy().withEndTokens(Set.of(3)).withMaxLength(6);
    int[] start = {0};
    return BeamSearch.search(new Chain(GARDEN), start, new int[] {7, 7}, sampling, beams, 100);
  }

  @Test
  void findsWhatAGreedyChoiceMisses() {
    List<Hypothesis> best = search(Beams.of(2).withReturned(2));
    assertArrayEquals(new int[] {2, 3}, best.get(0).ids());
    double sum = Math.log(0.44) + Math.log(0.97);
    assertEquals(sum / 2, best.get(0).score(), 1e-6);
    assertEquals(Math.log(0.44), best.get(0).logprobs()[0], 1e-6);
    assertEquals(Math.log(0.97), best.get(0).logprobs()[1], 1e-6);
  }

  @Test
  void thePapersPenaltyDividesByItsOwnLength() {
    Hypothesis best = search(Beams.of(2).withLengthPenalty(LengthPenalty.paper(0.6))).get(0);
    assertArrayEquals(new int[] {2, 3}, best.ids());
    double sum = Math.log(0.44) + Math.log(0.97);
    assertEquals(sum / Math.pow(7 / 6.0, 0.6), best.score(), 1e-6);
  }

  @Test
  void stopTextsAndSamplingAreRefused() {
    Sampling greedy = Sampling.greedy();
    int[] start = {0};
    for (Sampling wrong :
        List.of(
            greedy.withTemperature(0.5),
            greedy.withTopK(3),
            greedy.with(Processors.typical(0.5)),
            greedy.withStop("x"))) {
      assertThrows(
          IllegalArgumentException.class,
          () -> BeamSearch.search(new Chain(GARDEN), start, start, wrong, Beams.of(2), 100));
    }
    assertThrows(IllegalArgumentException.class, () -> Beams.of(0));
  }

  @Test
  void oneBeamIsAGreedySearchThatEndsAtItsFirstEndToken() {
    Sampling greedy = Sampling.greedy().withEndTokens(Set.of(3)).withMaxNewTokens(9);
    int[] start = {0};
    List<Hypothesis> found =
        BeamSearch.search(new Chain(GARDEN), start, start, greedy, Beams.of(1), 100);
    assertEquals(1, found.size());
    assertEquals(Beams.EarlyStopping.TRUE, Beams.of(1).earlyStopping());
    int[] ids = found.get(0).ids();
    assertEquals(3, ids[ids.length - 1]);
    assertEquals(1, Arrays.stream(ids).filter(id -> id == 3).count());
  }

  @Test
  void aBeamsScoreIsTheSumOfItsLogprobs() {
    try (Device device = Device.cpu(2);
        LanguageModel model = BatchTest.model(device, DType.F32, 48)) {
      Beams beams = Beams.of(3).withReturned(3).withLengthPenalty(LengthPenalty.power(0));
      int[] prompt = {3, 1, 4, 1, 5};
      Sampling sampling = Sampling.greedy().withMaxNewTokens(12);
      for (Completion one : BeamSearch.complete(model, null, prompt, sampling, beams)) {
        double sum = 0;
        try (Decoder decoder = model.decoder(1, 48)) {
          float[][] logits = new float[1][61];
          decoder.lastLogits(prompt, logits);
          for (Token token : one.tokens()) {
            sum += logits[0][token.id()] - Distribution.logSum(logits[0]);
            decoder.lastLogits(new int[] {token.id()}, logits);
          }
        }
        assertEquals(sum, one.score(), 1e-4);
        double logprobs = one.tokens().stream().mapToDouble(Token::logprob).sum();
        assertEquals(sum, logprobs, 1e-4);
      }
    }
  }

  @Test
  void processorsSeeTheSourceOfAnEncoder() {
    Sampling sampling =
        Sampling.greedy()
            .withMaxNewTokens(2)
            .with((scores, ids) -> assertEquals("[7, 7]", Arrays.toString(ids.source())));
    int[] source = {7, 7};
    assertEquals(
        1,
        BeamSearch.search(new Chain(GARDEN), new int[] {0}, source, sampling, Beams.of(2), 100)
            .size());
  }
}
