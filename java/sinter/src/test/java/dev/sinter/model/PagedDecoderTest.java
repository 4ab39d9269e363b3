package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Sampler.Settings;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig.Family;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Rows of many sequences, each as if it were alone. */
class PagedDecoderTest {
  private static final GptConfig TINY = GptConfig.of(61, 40, 24, 2, 3);
  private static final int PAGE = 8;
  private static final int PAGES_OF_SLOT = 5;
  private static final int SLOTS = 6;
  private static final int PAGES = SLOTS * PAGES_OF_SLOT;
  private static final int MAX_ROWS = 100;

  private static GptConfig of(Family family) {
    return TINY.withFamily(family, family == Family.GPT3 ? 7 : 0);
  }

  private static int[] text(int seed, int length) {
    return new Random(seed).ints(length, 0, 61).toArray();
  }

  private static PagedDecoder open(FrozenModel model) {
    return new PagedDecoder(model, PAGES, PAGE, SLOTS, MAX_ROWS);
  }

  /** Gives each slot pages of its own, in order. */
  private static PagedDecoder withPages(FrozenModel model) {
    PagedDecoder decoder = open(model);
    for (int page = 0; page < PAGES; page++) {
      decoder.setPage(page / PAGES_OF_SLOT, page % PAGES_OF_SLOT, page);
    }
    return decoder;
  }

  /** What a step launches in which one sequence goes on, greedily and with every way to choose. */
  static long kernelsOfAToken(FrozenModel model) {
    try (PagedDecoder decoder = withPages(model)) {
      long kernels = 0;
      for (int i = 0; i < 4; i++) {
        decoder.begin();
        Settings how = i < 2 ? Settings.GREEDY : new Settings(1.1f, 0.8f, 9, 0.9f, 0.1f);
        decoder.choose(decoder.add(0, i, 3 * i), how, 5, i, 0);
        decoder.run();
        assertTrue(decoder.token(0) >= 0);
        if (i > 1) {
          assertEquals(kernels, decoder.kernels());
        }
        kernels = decoder.kernels();
      }
      return kernels;
    }
  }

  /** The logits after each token of a text that is fed in chunks of these sizes, over and over. */
  private static float[][] logits(PagedDecoder decoder, int slot, int[] text, int... chunks) {
    float[][] logits = new float[text.length][61];
    int done = 0;
    for (int i = 0; done < text.length; i++) {
      int count = Math.min(chunks[i % chunks.length], text.length - done);
      decoder.begin();
      for (int j = 0; j < count; j++) {
        decoder.wantLogits(decoder.add(slot, done + j, text[done + j]));
      }
      decoder.run();
      for (int j = 0; j < count; j++) {
        decoder.logits(j, logits[done + j]);
      }
      done += count;
    }
    return logits;
  }

  private static float[][] logits(EvaluationGraph graph, int[] text) {
    try (graph) {
      graph.tokens().put(text);
      float[][] logits = new float[text.length][61];
      var all = graph.run();
      for (float[] row : logits) {
        all.get(row);
      }
      return logits;
    }
  }

  private static void assertClose(float[][] expected, float[][] actual, float tolerance) {
    for (int i = 0; i < expected.length; i++) {
      assertArrayEquals(expected[i], actual[i], tolerance, "token " + i);
    }
  }

  private static void assertSame(float[][] expected, float[][] actual) {
    assertClose(expected, actual, 0);
  }

  @ParameterizedTest
  @EnumSource(Family.class)
  void logitsAreTheModels(Family family) {
    try (Device device = Device.cpu(2)) {
      assertLogitsAreTheModels(device, family);
    }
  }

  /** For the CUDA backend as well: see CudaTest. */
  static void assertLogitsAreTheModels(Device device, Family family) {
    int[] text = text(3, 40);
    try (LanguageModel model = LanguageModel.create(of(family), device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32);
        PagedDecoder decoder = withPages(frozen)) {
      float[][] expected = logits(model.logitsGraph(1, 40), text);
      assertClose(expected, logits(decoder, 0, text, 40), 1e-5f);
      assertClose(expected, logits(decoder, 1, text, 1), 1e-5f);
      assertClose(expected, logits(decoder, 2, text, 11, 1, 2), 1e-5f);
    }
  }

  /** The same weights as numbers: what is left is the rounding of activations, keys and values. */
  @ParameterizedTest
  @CsvSource({"F32, 1e-5", "BF16, 0.02", "Q8, 0.05", "Q4, 0.05"})
  void logitsAreThoseOfTheWeightsAsNumbers(WeightFormat format, float tolerance) {
    try (Device device = Device.cpu(2)) {
      assertLogitsAreThoseOfTheNumbers(device, format, tolerance);
    }
  }

  static void assertLogitsAreThoseOfTheNumbers(
      Device device, WeightFormat format, float tolerance) {
    int[] text = text(3, 40);
    try (LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        LanguageModel numbers = Unpacked.of(frozen);
        PagedDecoder decoder = withPages(frozen)) {
      float[][] expected = logits(numbers.logitsGraph(1, 40), text);
      assertClose(expected, logits(decoder, 3, text, 7, 1, 1, 20), tolerance);
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void rowsAreTheSameInCompany(WeightFormat format) {
    try (Device device = Device.cpu(2)) {
      assertRowsAreTheSameInCompany(device, format);
    }
  }

  static void assertRowsAreTheSameInCompany(Device device, WeightFormat format) {
    int[][] texts = new int[SLOTS][];
    for (int slot = 0; slot < SLOTS; slot++) {
      texts[slot] = text(slot, 40 - 3 * slot);
    }
    try (LanguageModel model = LanguageModel.create(of(Family.GPT3), device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder alone = withPages(frozen);
        PagedDecoder together = withPages(frozen)) {
      float[][][] expected = new float[SLOTS][][];
      for (int slot = 0; slot < SLOTS; slot++) {
        expected[slot] = logits(alone, slot, texts[slot], 1);
      }
      Random random = new Random(5);
      int[] done = new int[SLOTS];
      float[] logits = new float[61];
      List<Integer> order = new ArrayList<>(List.of(0, 1, 2, 3, 4, 5));
      for (int step = 0; step < 40; step++) {
        Collections.shuffle(order, random);
        List<int[]> wanted = new ArrayList<>();
        int rows = 0;
        together.begin();
        for (int slot : order) {
          int count = Math.min(random.nextInt(6), texts[slot].length - done[slot]);
          for (int i = 0; i < count; i++) {
            int row = together.add(slot, done[slot], texts[slot][done[slot]]);
            if (step % 3 > 0 && random.nextBoolean()) {
              together.wantLogits(row);
              wanted.add(new int[] {row, slot, done[slot]});
            }
            done[slot]++;
            rows++;
          }
        }
        if (rows == 0) {
          break;
        }
        together.run();
        for (int[] row : wanted) {
          together.logits(row[0], logits);
          float[] same = expected[row[1]][row[2]];
          assertArrayEquals(same, logits, "slot " + row[1] + " position " + row[2]);
        }
      }
      for (int slot = 0; slot < SLOTS; slot++) {
        assertEquals(texts[slot].length, done[slot]);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void aPromptInChunksIsThatPrompt(WeightFormat format) {
    int[] text = text(3, 40);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder decoder = withPages(frozen)) {
      float[][] whole = logits(decoder, 0, text, 40);
      assertSame(whole, logits(decoder, 1, text, 1));
      assertSame(whole, logits(decoder, 2, text, 7, 9, 1, 17));
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void pagesMayLieAnywhere(WeightFormat format) {
    int[] text = text(3, 40);
    List<Integer> pages = new ArrayList<>();
    for (int page = 0; page < PAGES; page++) {
      pages.add(page);
    }
    Collections.shuffle(pages, new Random(5));
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder inOrder = withPages(frozen);
        PagedDecoder shuffled = open(frozen)) {
      for (int index = 0; index < PAGES_OF_SLOT; index++) {
        shuffled.setPage(4, index, pages.get(index));
      }
      assertSame(logits(inOrder, 0, text, 9), logits(shuffled, 4, text, 9));
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void aSequenceGoesOnFromPagesOfAnother(WeightFormat format) {
    int[] first = text(3, 40);
    int[] second = text(4, 40);
    System.arraycopy(first, 0, second, 0, 2 * PAGE);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(of(Family.GPT3), device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder decoder = withPages(frozen)) {
      float[][] expected = logits(decoder, 0, second, 9);
      logits(decoder, 1, first, 9);
      for (int index = 0; index < 2; index++) {
        decoder.setPage(2, index, PAGES_OF_SLOT + index); // slot 1's
      }
      float[] logits = new float[61];
      for (int position = 2 * PAGE; position < 40; position++) {
        decoder.begin();
        decoder.wantLogits(decoder.add(2, position, second[position]));
        decoder.run();
        decoder.logits(0, logits);
        assertArrayEquals(expected[position], logits, "position " + position);
      }
    }
  }

  /** Two requests with one beginning, which the first computes in the very step of the second. */
  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void aRowSeesWhatAnotherSequenceWritesInItsStep(WeightFormat format) {
    int[] text = text(3, PAGE + 1);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder decoder = withPages(frozen)) {
      float[] expected = logits(decoder, 0, text, PAGE + 1)[PAGE];
      decoder.setPage(1, 0, 2 * PAGES_OF_SLOT); // slot 2's first
      decoder.begin();
      int row = decoder.add(1, PAGE, text[PAGE]);
      decoder.wantLogits(row);
      for (int i = 0; i < PAGE; i++) {
        decoder.add(2, i, text[i]);
      }
      decoder.run();
      float[] logits = new float[61];
      decoder.logits(row, logits);
      assertArrayEquals(expected, logits);
    }
  }

  /** Ways to choose, of which the rows of a step have one each. */
  private static final Settings[] WAYS = {
    Settings.GREEDY,
    new Settings(1, 1, 0, 1, 0),
    new Settings(1.3f, 0.8f, 5, 1, 0),
    new Settings(1, 1.5f, 0, 0.7f, 0),
    new Settings(1.1f, 1, 40, 0.95f, 0.05f)
  };

  /** What a decoder of one sequence chooses. */
  private static int[] chosenAlone(LanguageModel model, int[] prompt, Settings how, long seed) {
    try (Decoder decoder = model.decoder(1, 40)) {
      decoder
          .sampler()
          .set(how.repetitionPenalty(), how.temperature(), how.topK(), how.topP(), how.minP());
      decoder.sampler().seed(seed);
      for (int token : prompt) {
        decoder.sampler().remember(0, token);
      }
      int[] fed = prompt;
      int[] chosen = new int[12];
      for (int step = 0; step < 12; step++) {
        fed = decoder.next(fed, step).clone();
        chosen[step] = fed[0];
        decoder.sampler().remember(0, fed[0]);
      }
      return chosen;
    }
  }

  @Test
  void everyRowChoosesItsOwnWay() {
    try (Device device = Device.cpu(2)) {
      assertEveryRowChoosesItsOwnWay(device);
    }
  }

  static void assertEveryRowChoosesItsOwnWay(Device device) {
    long[] seeds = {5, 1L << 40, -3, 0, Long.MIN_VALUE};
    try (LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32);
        PagedDecoder decoder = withPages(frozen)) {
      int[][] sequences = new int[WAYS.length][];
      for (int i = 0; i < WAYS.length; i++) {
        sequences[i] = text(i, 4 + i);
        for (int j = 0; j < sequences[i].length; j++) {
          decoder.setToken(i, j, sequences[i][j]);
        }
      }
      int[][] chosen = new int[WAYS.length][12];
      for (int step = 0; step < 12; step++) {
        decoder.begin();
        int[] rows = new int[WAYS.length];
        for (int i = 0; i < WAYS.length; i++) {
          int length = sequences[i].length;
          for (int j = step == 0 ? 0 : length - 1; j < length; j++) {
            rows[i] = decoder.add(i, j, sequences[i][j]);
          }
          decoder.choose(rows[i], WAYS[i], seeds[i], step, length);
        }
        decoder.run();
        for (int i = 0; i < WAYS.length; i++) {
          int length = sequences[i].length;
          chosen[i][step] = decoder.token(rows[i]);
          assertEquals(logprob(decoder, rows[i]), decoder.logprob(rows[i]), 1e-4);
          sequences[i] = Arrays.copyOf(sequences[i], length + 1);
          sequences[i][length] = chosen[i][step];
          decoder.setToken(i, length, chosen[i][step]);
        }
      }
      for (int i = 0; i < WAYS.length; i++) {
        int[] prompt = text(i, 4 + i);
        assertArrayEquals(chosenAlone(model, prompt, WAYS[i], seeds[i]), chosen[i], "row " + i);
      }
    }
  }

  /** Of the token that a row chose, from its logits. */
  private static double logprob(PagedDecoder decoder, int row) {
    float[] logits = new float[61];
    decoder.logits(row, logits);
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit);
    }
    return logits[decoder.token(row)] - Math.log(sum);
  }

  /** What a guess is verified by: rows behind it choose as if each came alone. */
  @Test
  void rowsOfOneSequenceChooseAsOneByOne() {
    int[] prompt = text(3, 9);
    Settings how = WAYS[4];
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q8);
        PagedDecoder decoder = withPages(frozen)) {
      int[] all = Arrays.copyOf(prompt, 9 + 12);
      for (int i = 0; i < 9; i++) {
        decoder.setToken(0, i, all[i]);
        decoder.setToken(1, i, all[i]);
      }
      for (int step = 0; step < 12; step++) {
        decoder.begin();
        for (int i = step == 0 ? 0 : 8 + step; i < 9 + step; i++) {
          decoder.add(0, i, all[i]);
        }
        int row = step == 0 ? 8 : 0;
        decoder.choose(row, how, 11, step, 9 + step);
        decoder.run();
        all[9 + step] = decoder.token(row);
        decoder.setToken(0, 9 + step, all[9 + step]);
        decoder.setToken(1, 9 + step, all[9 + step]);
      }
      decoder.begin();
      for (int i = 0; i < 20; i++) {
        decoder.add(1, i, all[i]);
      }
      for (int step = 0; step < 12; step++) {
        decoder.choose(8 + step, how, 11, step, 9 + step);
      }
      decoder.run();
      for (int step = 0; step < 12; step++) {
        assertEquals(all[9 + step], decoder.token(8 + step), "step " + step);
      }
    }
  }

  /** More sizes than graphs are kept for, twice over. */
  @Test
  void graphsOfManySizesComeAndGo() {
    int[] text = text(3, 40);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q8);
        PagedDecoder decoder = withPages(frozen)) {
      float[][] expected = logits(decoder, 0, text, 40);
      float[] logits = new float[61];
      for (int round = 0; round < 2; round++) {
        for (int count : new int[] {2, 3, 4, 5, 6, 7, 8, 9, 17, 25, 33, 40}) {
          for (int wanted = 0; wanted < 3; wanted++) {
            decoder.begin();
            for (int i = 0; i < count; i++) {
              decoder.add(1, i, text[i]);
            }
            for (int i = 0; i < wanted; i++) {
              decoder.wantLogits(count - 1 - i);
            }
            decoder.run();
            for (int i = 0; i < wanted; i++) {
              decoder.logits(count - 1 - i, logits);
              assertArrayEquals(expected[count - 1 - i], logits, count + " rows, " + wanted);
            }
            assertTrue(decoder.graphs() <= 11 + 12, decoder.graphs() + " graphs");
          }
        }
      }
    }
  }

  private static void assertRefused(Class<? extends Exception> kind, String part, Executable call) {
    String message = assertThrows(kind, call).getMessage();
    assertTrue(message.contains(part), message);
  }

  @Test
  void whatIsNotThereIsRefused() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q4);
        PagedDecoder decoder = open(frozen)) {
      Class<IndexOutOfBoundsException> range = IndexOutOfBoundsException.class;
      Class<IllegalArgumentException> bad = IllegalArgumentException.class;
      Class<IllegalStateException> state = IllegalStateException.class;
      assertRefused(state, "begin() comes first", () -> decoder.add(0, 0, 1));
      assertRefused(state, "begin() comes first", decoder::run);
      assertRefused(state, "run() comes first", () -> decoder.token(0));
      decoder.begin();
      assertRefused(state, "has no rows", decoder::run);
      for (int[] page : new int[][] {{-1, 0, 0}, {6, 0, 0}, {0, -1, 0}, {0, 5, 0}, {0, 0, 30}}) {
        assertThrows(range, () -> decoder.setPage(page[0], page[1], page[2]));
      }
      assertThrows(range, () -> decoder.setPage(0, 0, -2));
      decoder.setPage(0, 0, 0);
      decoder.setPage(0, 2, 2);
      decoder.setPage(1, 0, 1);
      assertRefused(range, "slot 6; 0 to 5", () -> decoder.add(6, 0, 1));
      assertRefused(range, "slot -1", () -> decoder.add(-1, 0, 1));
      assertRefused(range, "has pages for 8", () -> decoder.add(0, 8, 1));
      assertRefused(range, "has pages for 8", () -> decoder.add(0, 16, 1));
      assertRefused(range, "position -1", () -> decoder.add(0, -1, 1));
      assertRefused(range, "has pages for 0", () -> decoder.add(2, 0, 1));
      assertRefused(range, "token 61; the vocabulary has 0 to 60", () -> decoder.add(0, 0, 61));
      assertRefused(range, "token -1", () -> decoder.add(0, 0, -1));
      assertThrows(range, () -> decoder.setToken(0, 41, 1));
      assertThrows(range, () -> decoder.setToken(0, -1, 1));
      assertThrows(range, () -> decoder.setToken(6, 0, 1));
      assertThrows(range, () -> decoder.setToken(0, 0, 61));
      decoder.add(0, 0, 1);
      assertRefused(bad, "together, in order", () -> decoder.add(0, 0, 1));
      decoder.add(1, 0, 1);
      assertRefused(bad, "together, in order", () -> decoder.add(0, 1, 1));
      assertRefused(range, "row 2; the step has 2", () -> decoder.wantLogits(2));
      assertRefused(range, "row -1", () -> decoder.choose(-1, Settings.GREEDY, 0, 0, 0));
      assertRefused(bad, "history", () -> decoder.choose(0, Settings.GREEDY, 0, 0, 42));
      assertRefused(bad, "history", () -> decoder.choose(0, Settings.GREEDY, 0, 0, -1));
      assertRefused(state, "run() comes first", () -> decoder.logits(0, new float[61]));
      decoder.wantLogits(1);
      decoder.run();
      assertRefused(state, "begin() comes first", () -> decoder.add(1, 1, 1));
      assertRefused(state, "begin() comes first", decoder::run);
      assertRefused(bad, "was not asked for anything", () -> decoder.logits(0, new float[61]));
      assertRefused(range, "row 2; the step has 2", () -> decoder.token(2));
      assertRefused(bad, "60 numbers", () -> decoder.logits(1, new float[60]));
      decoder.logits(1, new float[61]); // all that was refused has left no trace
      decoder.setPage(0, 0, -1);
      decoder.begin();
      assertRefused(range, "has pages for 0", () -> decoder.add(0, 0, 1));
      decoder.setPage(0, 0, 0);
      decoder.setPage(0, 1, 1);
      decoder.add(0, 23, 1); // of three pages
    }
  }

  @Test
  void aFullStepTakesNoMore() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q4);
        PagedDecoder decoder = new PagedDecoder(frozen, 5, 8, 1, 10)) {
      for (int index = 0; index < 5; index++) {
        decoder.setPage(0, index, index);
      }
      decoder.begin();
      for (int i = 0; i < 10; i++) {
        decoder.wantLogits(decoder.add(0, i, i));
      }
      assertRefused(
          IllegalStateException.class, "the step is full: it has 10", () -> decoder.add(0, 10, 1));
      decoder.run();
      decoder.logits(9, new float[61]);
    }
  }

  @Test
  void sizesThatMakeNoSenseAreRefused() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q4)) {
      int[][] bad = {
        {0, 8, 1, 1},
        {1, 0, 1, 1},
        {1, 41, 1, 1},
        {1, 8, 0, 1},
        {1, 8, 5000, 1},
        {1, 8, 1, 0},
        {1, 8, 1, 5000},
        {-1, 8, 1, 1}
      };
      for (int[] size : bad) {
        assertThrows(
            IllegalArgumentException.class,
            () -> new PagedDecoder(frozen, size[0], size[1], size[2], size[3]),
            Arrays.toString(size));
      }
    }
  }

  @Test
  void settingsOutOfRangeAreRefused() {
    float nan = Float.NaN;
    float[][] bad = {
      {0, 1, 0, 1, 0}, {nan, 1, 0, 1, 0}, {1, -1, 0, 1, 0}, {1, nan, 0, 1, 0},
      {1, Float.POSITIVE_INFINITY, 0, 1, 0}, {1, 1, -1, 1, 0}, {1, 1, 0, 0, 0}, {1, 1, 0, nan, 0},
      {1, 1, 0, 1.1f, 0}, {1, 1, 0, 1, -0.1f}, {1, 1, 0, 1, 1.1f}, {1, 1, 0, 1, nan}
    };
    for (float[] one : bad) {
      assertThrows(
          IllegalArgumentException.class,
          () -> new Settings(one[0], one[1], (int) one[2], one[3], one[4]),
          Arrays.toString(one));
    }
  }

  @Test
  void whatIsClosedIsNotUsed() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q4)) {
      PagedDecoder decoder = withPages(frozen);
      logits(decoder, 0, text(3, 5), 5);
      decoder.close();
      decoder.close();
      List<Executable> uses =
          List.of(
              decoder::begin,
              () -> decoder.setPage(0, 0, 0),
              () -> decoder.setToken(0, 0, 0),
              () -> decoder.add(0, 0, 0),
              () -> decoder.wantLogits(0),
              () -> decoder.choose(0, Settings.GREEDY, 0, 0, 0),
              decoder::run,
              () -> decoder.token(0),
              () -> decoder.logprob(0),
              () -> decoder.logits(0, new float[61]));
      for (Executable use : uses) {
        assertRefused(IllegalStateException.class, "the decoder is closed", use);
      }
      FrozenModel gone = FrozenModel.of(model, WeightFormat.Q4);
      PagedDecoder orphan = withPages(gone);
      gone.close();
      assertThrows(IllegalStateException.class, () -> logits(orphan, 0, text(3, 5), 5));
      orphan.close();
      EvaluationGraph graph = model.logitsGraph(1, 3);
      graph.close();
      assertRefused(IllegalStateException.class, "the graph is closed", graph::run);
    }
  }

  @Test
  void twoStepsOfOneSizeAreOneGraph() {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q4);
        PagedDecoder decoder = withPages(frozen)) {
      float[][] first = logits(decoder, 0, text(3, 12), 12);
      float[][] second = logits(decoder, 0, text(4, 12), 12);
      assertFalse(Arrays.deepEquals(first, second));
      assertSame(first, logits(decoder, 0, text(3, 12), 12));
    }
  }
}
