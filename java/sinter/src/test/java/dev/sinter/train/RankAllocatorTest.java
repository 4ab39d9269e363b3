package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.graph.Recompute;
import dev.sinter.model.AdaLoraConfig;
import dev.sinter.model.Adapter;
import dev.sinter.model.AdapterConfig;
import dev.sinter.model.BertConfig;
import dev.sinter.model.Head;
import dev.sinter.model.LoraConfig;
import dev.sinter.model.Targets;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.IntBinaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** AdaLoRA's budget, its regulariser, and what a smaller budget costs. */
class RankAllocatorTest {
  private static final int BATCH = 16;
  private static final int LENGTH = 10;
  private static final int CLASSES = 3;
  private static final int WORDS = 30;

  private Device device;
  private TaskModel base;

  @BeforeEach
  void open() {
    device = Device.cpu();
    base =
        new TaskModel(
                BertConfig.of(WORDS + 1, LENGTH, 32, 2, 2).withDropout(0),
                Head.tokens(CLASSES),
                device,
                DType.F32)
            .initialize(3);
  }

  @AfterEach
  void close() {
    base.close();
    device.close();
  }

  private static int left(Adapter adapter) {
    return ((AdaLoraConfig) adapter.config())
        .kept().values().stream()
            .mapToInt(triplets -> (int) triplets.stream().filter(is -> is).count())
            .sum();
  }

  private static List<Float> values(Adapter adapter) {
    List<Float> all = new ArrayList<>();
    for (Adapter.Module module : adapter.modules()) {
      for (float value : adapter.parameters().read(Part.WEIGHT, module.scale())) {
        all.add(value);
      }
    }
    return all;
  }

  @Test
  void theBudgetFallsWithTheCubeOfTheStepsThatAreLeft() {
    try (TaskModel model = base.adapted(AdaLoraConfig.of(4, 2, 20).withSchedule(3, 5, 1), 1)) {
      RankAllocator allocator = RankAllocator.of(model);
      // Four modules: from 16 to 8 over the 12 steps after the third.
      assertEquals(16, allocator.budget(1));
      assertEquals(16, allocator.budget(3));
      assertEquals((int) (8 + 8 * Math.pow(11 / 12.0, 3)), allocator.budget(4));
      assertEquals(9, allocator.budget(9));
      assertEquals(8, allocator.budget(15));
      assertEquals(8, allocator.budget(20));
    }
    try (TaskModel model = base.adapted(LoraConfig.of(4), 1)) {
      assertNull(RankAllocator.of(model));
    }
    assertNull(RankAllocator.of(base));
  }

  @Test
  void whereAllAreEquallyImportantNoMoreArePrunedThanTheBudgetAsks() {
    for (int target : new int[] {0, 2, 4}) {
      try (TaskModel model =
          base.adapted(AdaLoraConfig.of(4, target, 10).withSchedule(2, 3, 1), 1)) {
        model.parameters().enableTraining();
        Adapter adapter = model.adapter();
        RankAllocator allocator = RankAllocator.of(model);
        for (int step = 1; step <= 10; step++) {
          for (Adapter.Module module : adapter.modules()) {
            float[] ones = {1, 1, 1, 1};
            adapter.parameters().write(Part.WEIGHT, module.scale(), ones);
          }
          allocator.allocate(step, 1);
          int budget = allocator.budget(step);
          assertEquals(step <= 2 ? 16 : budget, values(adapter).stream().mapToDouble(x -> x).sum());
          assertEquals(step <= 2 ? 0 : budget, left(adapter));
        }
        assertEquals(4 * target, left(adapter));
      }
    }
  }

  @Test
  void aTrainingThatGoesOnWithoutTheImportanceOfTheStepsBeforeIsRefused() {
    try (TaskModel model = base.adapted(AdaLoraConfig.of(4, 2, 10), 1)) {
      RankAllocator allocator = RankAllocator.of(model);
      assertThrows(IllegalStateException.class, () -> allocator.allocate(5, 1));
    }
  }

  @Test
  void theRegularisersGradientIsThatOfItsLoss() {
    try (TaskModel model = base.adapted(AdaLoraConfig.of(3, 2, 10).withOrthogonality(0.7), 1)) {
      Parameters parameters = model.parameters();
      parameters.enableTraining();
      RankAllocator allocator = RankAllocator.of(model);
      Random random = new Random(3);
      Adapter.Module module = model.adapter().modules().get(1);
      for (String name : List.of(module.a(), module.b())) {
        float[] weights = parameters.read(Part.WEIGHT, name);
        for (int i = 0; i < weights.length; i++) {
          weights[i] = (float) (0.3 * random.nextGaussian());
        }
        parameters.write(Part.WEIGHT, name, weights);
      }
      allocator.regularize();
      List<float[]> gradients =
          List.of(
              parameters.read(Part.GRADIENT, module.a()),
              parameters.read(Part.GRADIENT, module.b()));
      for (String name : List.of(module.a(), module.b())) {
        float[] gradient = gradients.get(name.equals(module.a()) ? 0 : 1);
        float[] weights = parameters.read(Part.WEIGHT, name);
        for (int i = 0; i < weights.length; i += 7) {
          float at = weights[i];
          weights[i] = at + 1e-3f;
          parameters.write(Part.WEIGHT, name, weights);
          double above = allocator.regularize();
          weights[i] = at - 1e-3f;
          parameters.write(Part.WEIGHT, name, weights);
          double below = allocator.regularize();
          weights[i] = at;
          parameters.write(Part.WEIGHT, name, weights);
          assertEquals((above - below) / 2e-3, gradient[i], 2e-5, name + " " + i);
        }
      }
    }
  }

  /** The class of a word follows from it and the one before. */
  private static void fill(TaskGraph graph, IntBinaryOperator rule, Random random) {
    for (int i = 0; i < BATCH; i++) {
      int before = 0;
      for (int j = 0; j < LENGTH; j++) {
        int word = random.nextInt(WORDS);
        graph.tokens().put(i * LENGTH + j, 1 + word);
        graph.targets().put(i * LENGTH + j, rule.applyAsInt(before, word));
        before = word;
      }
    }
  }

  private static void train(TaskModel model, IntBinaryOperator rule, long steps, double rate) {
    Random random = new Random(6);
    AdamW optimizer = AdamW.of(Schedule.cosine(rate, rate / 10).warmup(20)).withWeightDecay(0);
    try (TaskGraph graph = model.trainingGraph(BATCH, LENGTH, 0, 1, Recompute.NONE, 1)) {
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, 1);
      while (loop.goesOn()) {
        fill(graph, rule, random);
        loop.step(graph::run, BATCH * LENGTH);
      }
    }
  }

  /** The share of right classes, on words in an order that training has not seen. */
  private static double accuracy(TaskModel model, IntBinaryOperator rule) {
    Random random = new Random(77);
    int right = 0;
    int all = 0;
    try (TaskGraph graph = model.graph(BATCH, LENGTH, 0)) {
      for (int batch = 0; batch < 20; batch++) {
        fill(graph, rule, random);
        graph.run(batch, false);
        for (int i = 0; i < BATCH * LENGTH; i++, all++) {
          int best = 0;
          for (int c = 1; c < CLASSES; c++) {
            best =
                graph.outputs().get(i * CLASSES + c) > graph.outputs().get(i * CLASSES + best)
                    ? c
                    : best;
          }
          right += best == graph.targets().get(i) ? 1 : 0;
        }
      }
    }
    return (double) right / all;
  }

  @Test
  void halfOfLorasBudgetLearnsAsMuch() {
    IntBinaryOperator known = (before, word) -> (before + word) % CLASSES;
    IntBinaryOperator asked = (before, word) -> (before * word + 1) % CLASSES;
    train(base, known, 500, 3e-3);
    double knows = accuracy(base, known);
    assertTrue(knows > 0.98, "the base knows its own task in " + knows);

    Targets all = Targets.of("query", "key", "value", "dense");
    long steps = 500;
    AdapterConfig lora = LoraConfig.of(4).withAlpha(16).withTargets(all);
    AdapterConfig half =
        AdaLoraConfig.of(4, 2, steps).withAlpha(16).withTargets(all).withSchedule(100, 200, 5);
    double full;
    double fewer;
    try (TaskModel model = base.adapted(lora, 5)) {
      double before = accuracy(model, asked);
      train(model, asked, steps, 2e-3);
      full = accuracy(model, asked);
      assertTrue(before < 0.6 && full > 0.95, before + " to " + full);
    }
    try (TaskModel model = base.adapted(half, 5)) {
      train(model, asked, steps, 2e-3);
      fewer = accuracy(model, asked);
      assertEquals(2 * model.adapter().modules().size(), left(model.adapter()));
    }
    assertTrue(fewer > full - 0.01, "LoRA " + full + ", AdaLoRA " + fewer);
  }
}
