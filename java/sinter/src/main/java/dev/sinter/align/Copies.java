package dev.sinter.align;

import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.model.Head;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.TaskModel;
import java.util.Random;

/** Models that begin where others are. */
final class Copies {
  /** The scalar heads' names: of a sequence, and of each token. */
  private static final String SCORE = "score.weight";

  private static final String VALUE = "classifier.weight";
  private static final String VALUE_BIAS = "classifier.bias";

  private Copies() {}

  /** The same model without dropout. */
  static LanguageModel of(LanguageModel model) {
    if (model.weights() != model.parameters()) {
      throw new IllegalArgumentException("the model is under an adapter; merge that first");
    }
    LanguageModel copy =
        new LanguageModel(
            model.config().withDropout(0), model.device(), model.parameters().dtype());
    copyAll(model.parameters(), copy.parameters());
    return copy;
  }

  /** A model of the value of each token, which begins as what a reward model says of a whole. */
  static TaskModel valueOf(TaskModel reward, double shift) {
    TaskModel value =
        new TaskModel(
            reward.gptConfig().withDropout(0),
            Head.tokens(1),
            reward.device(),
            reward.parameters().dtype());
    copyAll(reward.parameters(), value.parameters());
    value.parameters().write(Part.WEIGHT, VALUE, reward.parameters().read(Part.WEIGHT, SCORE));
    value.parameters().write(Part.WEIGHT, VALUE_BIAS, new float[] {(float) -shift});
    return value;
  }

  /** A reward model that begins as a language model, with a head drawn anew. */
  static TaskModel rewardOf(LanguageModel model, long seed) {
    TaskModel reward =
        new TaskModel(model.config(), Head.sequence(1), model.device(), model.parameters().dtype());
    copyAll(model.parameters(), reward.parameters());
    drawHead(reward, seed);
    return reward;
  }

  /** Draws the head anew: normal with a deviation of 1 / sqrt(width + 1), as Stiennon et al. */
  static void drawHead(TaskModel reward, long seed) {
    int width = reward.gptConfig().width();
    Random random = new Random(seed);
    float[] weights = new float[width];
    for (int i = 0; i < width; i++) {
      weights[i] = (float) (random.nextGaussian() / Math.sqrt(width + 1));
    }
    reward.parameters().write(Part.WEIGHT, SCORE, weights);
  }

  /** Copies what both have. */
  private static void copyAll(Parameters from, Parameters to) {
    for (ParameterSpec spec : from.specs()) {
      if (to.has(spec.name())) {
        to.write(Part.WEIGHT, spec.name(), from.read(Part.WEIGHT, spec.name()));
      }
    }
  }
}
