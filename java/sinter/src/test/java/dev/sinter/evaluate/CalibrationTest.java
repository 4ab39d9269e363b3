package dev.sinter.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.RepetitionInfo;
import org.junit.jupiter.api.Test;

/** What holds of any predictions. */
class CalibrationTest {
  private static final double TOLERANCE = 1e-12;

  @RepeatedTest(30)
  void theErrorGrowsWithFinerBinsAndForgetsTheOrder(RepetitionInfo repetition) {
    Random random = new Random(repetition.getCurrentRepetition());
    int count = 1 + random.nextInt(300);
    double[] probabilities = random.doubles(count).toArray();
    boolean[] correct = new boolean[count];
    double[] turned = new double[count];
    boolean[] turnedCorrect = new boolean[count];
    double mean = 0;
    double accuracy = 0;
    for (int i = 0; i < count; i++) {
      correct[i] = random.nextDouble() < probabilities[i];
      turned[count - 1 - i] = probabilities[i];
      turnedCorrect[count - 1 - i] = correct[i];
      mean += probabilities[i] / count;
      accuracy += correct[i] ? 1.0 / count : 0;
    }
    double error = Calibration.of(probabilities, correct, 1).expectedError();
    assertEquals(Math.abs(mean - accuracy), error, TOLERANCE);
    // Powers of two have common edges: what two bins err in sum is no less than what one does.
    for (int bins = 2; bins <= 512; bins *= 2) {
      Calibration finer = Calibration.of(probabilities, correct, bins);
      assertTrue(finer.expectedError() >= error - TOLERANCE && finer.expectedError() <= 1);
      error = finer.expectedError();
      Calibration other = Calibration.of(turned, turnedCorrect, bins);
      assertEquals(error, other.expectedError(), TOLERANCE);
      assertEquals(finer.brier(), other.brier(), TOLERANCE);
    }
  }

  @Test
  void whatIsSureAndRightHasNoError() {
    Calibration sure =
        Calibration.of(new double[] {1, 1, 0}, new boolean[] {true, true, false}, 15);
    assertEquals(0, sure.expectedError());
    assertEquals(0, sure.brier());
    assertEquals(new Calibration.Bin(2, 2, 1), sure.bins().get(14));
    assertEquals(new Calibration.Bin(1, 0, 0), sure.bins().get(0));
    assertEquals(1, Calibration.of(new double[] {1}, new boolean[1], 10).expectedError());
  }
}
