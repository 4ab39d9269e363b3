package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.generate.Beams;
import dev.sinter.generate.LengthPenalty;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Translator;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.train.TranslationTrainer.Pair;
import java.io.IOException;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/**
 * An encoder-decoder learns to write numbers that are spelt out: "four hundred and seven" → 407.
 */
class TranslationTest {
  private static final List<String> WORDS =
      List.of(
          "zero",
          "one",
          "two",
          "three",
          "four",
          "five",
          "six",
          "seven",
          "eight",
          "nine",
          "ten",
          "eleven",
          "twelve",
          "thirteen",
          "fourteen",
          "fifteen",
          "sixteen",
          "seventeen",
          "eighteen",
          "nineteen",
          "twenty",
          "thirty",
          "forty",
          "fifty",
          "sixty",
          "seventy",
          "eighty",
          "ninety",
          "hundred",
          "thousand",
          "and");
  private static final int END = 0;
  private static final int FIRST_DIGIT = 1;
  private static final int FIRST_WORD = 11;
  private static final int PADDING = FIRST_WORD + WORDS.size();

  private static void below100(int number, List<Integer> to) {
    if (number < 20) {
      to.add(number);
    } else {
      to.add(18 + number / 10);
      if (number % 10 > 0) {
        to.add(number % 10);
      }
    }
  }

  private static void below1000(int number, List<Integer> to) {
    if (number >= 100) {
      to.add(number / 100);
      to.add(WORDS.indexOf("hundred"));
      if (number % 100 == 0) {
        return;
      }
      to.add(WORDS.indexOf("and"));
    }
    below100(number % 100, to);
  }

  private static Pair pair(int number) {
    List<Integer> words = new ArrayList<>();
    if (number >= 1000) {
      below1000(number / 1000, words);
      words.add(WORDS.indexOf("thousand"));
    }
    if (number < 1000 || number % 1000 > 0) {
      below1000(number % 1000, words);
    }
    int[] source = words.stream().mapToInt(word -> FIRST_WORD + word).toArray();
    String digits = Integer.toString(number);
    int[] target = new int[digits.length() + 1];
    for (int i = 0; i < digits.length(); i++) {
      target[i] = FIRST_DIGIT + digits.charAt(i) - '0';
    }
    target[digits.length()] = END;
    return new Pair(source, target);
  }

  private static TransformerModel model(Device device) {
    TransformerConfig config =
        TransformerConfig.of(PADDING + 1, 16, 64, 2, 4)
            .withTokens(PADDING, END, PADDING)
            .withDropout(0);
    return new TransformerModel(config, device, DType.F32).initialize(1);
  }

  private static void train(TransformerModel model, List<Pair> pairs, int steps) {
    new TranslationTrainer(model, pairs, 64, 1)
        .run(
            AdamW.of(Schedule.cosine(2e-3, 1e-4).warmup(100)).withBetas(0.9, 0.98),
            0.1f,
            steps,
            step -> {});
  }

  @Test
  void nearlyAllNumbersThatItHasNotSeenAreWrittenRightByBeamSearch() {
    SplittableRandom random = new SplittableRandom(3);
    Set<Integer> held = new HashSet<>();
    while (held.size() < 300) {
      held.add(random.nextInt(1_000_000));
    }
    List<Pair> pairs = new ArrayList<>();
    while (pairs.size() < 20_000) {
      int number = random.nextInt(random.nextInt(8) == 0 ? 1000 : 1_000_000);
      if (!held.contains(number)) {
        pairs.add(pair(number));
      }
    }
    try (Device device = Device.cpu();
        TransformerModel model = model(device)) {
      train(model, pairs, 1000);
      Beams beams = Beams.of(4).withLengthPenalty(LengthPenalty.paper(0.6));
      int right = 0;
      try (Translator translator = new Translator(model, beams, 16, 9)) {
        for (int number : held) {
          Pair pair = pair(number);
          Sampling sampling = Sampling.greedy().withMaxNewTokens(8);
          int[] best = translator.translate(pair.source(), sampling).get(0).ids();
          right += Arrays.equals(best, pair.target()) ? 1 : 0;
        }
      }
      assertTrue(right > 0.99 * held.size(), right + " of " + held.size());
    }
  }

  @Test
  void equalSeedsGiveEqualWeights() throws IOException {
    float[][] weights = new float[2][64];
    for (float[] run : weights) {
      try (Device device = Device.cpu();
          TransformerModel model = model(device)) {
        train(model, List.of(pair(7), pair(81), pair(999), pair(4321)), 3);
        FloatBuffer buffer = FloatBuffer.allocate(64 * 64);
        model
            .parameters()
            .read(
                Parameters.Part.WEIGHT,
                "model.decoder.layers.1.encoder_attn.out_proj.weight",
                buffer::put);
        buffer.get(0, run);
      }
    }
    assertArrayEquals(weights[0], weights[1]);
  }
}
