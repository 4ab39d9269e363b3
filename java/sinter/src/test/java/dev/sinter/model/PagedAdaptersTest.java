package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.model.GptConfig.Family;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Sequences of one step, each with the adapter of its own. */
class PagedAdaptersTest {
  private static final int VOCABULARY = 61;
  private static final GptConfig TINY = GptConfig.of(VOCABULARY, 40, 24, 2, 3);
  private static final int PAGE = 8;
  private static final int PAGES_OF_SLOT = 5;
  private static final int SLOTS = 6;
  private static final int NONE = -1;

  private static int[] text(int seed, int length) {
    return new Random(seed).ints(length, 0, VOCABULARY).toArray();
  }

  /** Each slot has pages of its own. */
  private static PagedDecoder decoder(FrozenModel model) {
    int pages = SLOTS * PAGES_OF_SLOT;
    PagedDecoder decoder = new PagedDecoder(model, pages, PAGE, SLOTS, 100);
    for (int page = 0; page < pages; page++) {
      decoder.setPage(page / PAGES_OF_SLOT, page % PAGES_OF_SLOT, page);
    }
    return decoder;
  }

  /** The logits after each token of a text in slot 0, alone. */
  private static float[][] logits(FrozenModel model, LoadedAdapter adapter, int[] text) {
    try (PagedDecoder decoder = decoder(model)) {
      if (adapter != null) {
        decoder.setAdapter(0, decoder.loadAdapter(adapter));
      }
      return feed(decoder, 0, 0, text);
    }
  }

  private static float[][] feed(PagedDecoder decoder, int slot, int first, int[] text) {
    decoder.begin();
    for (int i = 0; i < text.length; i++) {
      decoder.wantLogits(decoder.add(slot, first + i, text[i]));
    }
    decoder.run();
    float[][] logits = new float[text.length][VOCABULARY];
    for (int i = 0; i < text.length; i++) {
      decoder.logits(i, logits[i]);
    }
    return logits;
  }

  private static float[][] logits(EvaluationGraph graph, int[] text) {
    try (graph) {
      graph.tokens().put(text);
      float[][] logits = new float[text.length][VOCABULARY];
      var all = graph.run();
      for (float[] row : logits) {
        all.get(row);
      }
      return logits;
    }
  }

  private static double distance(float[][] one, float[][] other) {
    double sum = 0;
    for (int i = 0; i < one.length; i++) {
      for (int j = 0; j < VOCABULARY; j++) {
        sum += Math.abs(one[i][j] - other[i][j]);
      }
    }
    return sum / one.length / VOCABULARY;
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void anAdapterComputesWhatMergedWeightsDo(WeightFormat format) {
    int[] text = text(3, 30);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        LanguageModel merged = Unpacked.of(frozen)) {
      LoadedAdapter adapter = RandomAdapters.of(frozen, "a", 3);
      float[][] actual = logits(frozen, adapter, text);
      RandomAdapters.merge(adapter, merged);
      float[][] expected = logits(merged.logitsGraph(1, 30), text);
      double effect = distance(actual, logits(frozen, null, text));
      assertTrue(effect > 0.1, "it changes little: " + effect);
      // What is rounded besides: activations to 8 bits, keys and values to bf16.
      double tolerance = format == WeightFormat.F32 ? 1e-5 : 0.05 * effect;
      double error = distance(expected, actual);
      assertTrue(error < tolerance, error + " of " + effect);
    }
  }

  private static Path resource(String name) throws URISyntaxException {
    return Path.of(PagedAdaptersTest.class.getResource(name).toURI());
  }

  private static int[] ints(SafetensorsFile file, String name) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(4 * (int) file.info(name).elements());
    file.read(name, 0, bytes.order(ByteOrder.LITTLE_ENDIAN));
    int[] values = new int[bytes.capacity() / 4];
    bytes.flip().asIntBuffer().get(values);
    return values;
  }

  private static float[] floats(SafetensorsFile file, String name) throws IOException {
    float[] values = new float[(int) file.info(name).elements()];
    file.floats(name).fill(FloatBuffer.wrap(values));
    return values;
  }

  /** Each sequence with each adapter, in one step: the logits that PEFT has with that adapter. */
  @Test
  void whatPeftSavedGivesWhatPeftGives() throws IOException, URISyntaxException {
    List<String> adapters = List.of("lora-gpt2", "rslora-gpt2", "adalora-gpt2");
    int batch = 4;
    int length = 11;
    int vocabulary = 41;
    try (Device device = Device.cpu(2);
        FrozenModel model = FrozenModel.load(resource("families/gpt2"), device, WeightFormat.F32);
        PagedDecoder decoder = new PagedDecoder(model, 12, length, 12, 12 * length)) {
      List<float[]> expected = new ArrayList<>();
      decoder.begin();
      for (String name : adapters) {
        Path folder = resource("adapters/" + name);
        int index = decoder.loadAdapter(LoadedAdapter.read(name, folder.resolve("final"), model));
        try (SafetensorsFile golden = SafetensorsFile.open(folder.resolve("golden.safetensors"))) {
          int[] tokens = ints(golden, "tokens");
          expected.add(floats(golden, "outputs"));
          for (int i = 0; i < batch; i++) {
            int slot = index * batch + i;
            decoder.setPage(slot, 0, slot);
            decoder.setAdapter(slot, index);
            for (int at = 0; at < length; at++) {
              decoder.wantLogits(decoder.add(slot, at, tokens[i * length + at]));
            }
          }
        }
      }
      decoder.run();
      for (int adapter = 0; adapter < adapters.size(); adapter++) {
        float[] logits = new float[batch * length * vocabulary];
        float[] row = new float[vocabulary];
        for (int i = 0; i < batch * length; i++) {
          decoder.logits(adapter * batch * length + i, row);
          System.arraycopy(row, 0, logits, i * vocabulary, vocabulary);
        }
        assertArrayEquals(expected.get(adapter), logits, 2e-5f, adapters.get(adapter));
      }
    }
  }

  private static LoraConfig lora() {
    return LoraConfig.of(3).withAlpha(5).withTargets(Targets.of("c_attn", "c_fc", "c_proj"));
  }

  /** Gives all parameters of an adapter values that change much. */
  private static void fill(LanguageModel adapted) {
    Random random = new Random(5);
    for (ParameterSpec spec : adapted.parameters().specs()) {
      float[] values = new float[(int) spec.elements()];
      for (int i = 0; i < values.length; i++) {
        values[i] = 0.3f * (float) random.nextGaussian();
      }
      adapted.parameters().write(Parameters.Part.WEIGHT, spec.name(), values);
    }
  }

  @Test
  void anAdapterThatTrainsServesAsItIs() {
    int[] text = text(3, 30);
    try (Device device = Device.cpu(2);
        FrozenModel frozen = FrozenModel.create(TINY, device, WeightFormat.F32, 7)) {
      for (AdapterConfig config :
          List.of(lora(), lora().withRankStabilized(), AdaLoraConfig.of(4, 2, 100))) {
        try (LanguageModel adapted = LanguageModel.over(frozen, config, 1)) {
          fill(adapted);
          float[][] expected = logits(adapted.logitsGraph(1, 30), text);
          float[][] actual = logits(frozen, LoadedAdapter.of("x", adapted), text);
          double effect = distance(expected, logits(frozen, null, text));
          double error = distance(expected, actual);
          assertTrue(effect > 0.1, config + " changes little: " + effect);
          assertTrue(error < 1e-5, config + ": " + error + " of " + effect);
        }
      }
    }
  }

  @Test
  void whatIsNoLowRankUpdateIsRefused(@TempDir Path folder) throws IOException {
    try (Device device = Device.cpu(1);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32);
        LanguageModel bottleneck = model.adapted(BottleneckConfig.of(3), 1);
        LanguageModel saved = model.adapted(lora().withModulesToSave("ln_f"), 1);
        LanguageModel merged = model.adapted(lora(), 1)) {
      String more = ", which is no low-rank update; requests can have those alone of their own";
      assertRefused(
          "adapter x has h.0.attn.c_proj.adapter_down.weight" + more,
          () -> LoadedAdapter.of("x", bottleneck));
      assertRefused("adapter x has ln_f.weight" + more, () -> LoadedAdapter.of("x", saved));
      assertRefused("the model has no adapter", () -> LoadedAdapter.of("x", model));
      PeftFiles.save(saved, folder);
      FormatException inFile =
          assertThrows(FormatException.class, () -> LoadedAdapter.read("x", folder, frozen));
      assertEquals(folder + ": adapter x has ln_f.weight" + more, inFile.getMessage());
      merged.adapter().merge();
      assertThrows(IllegalStateException.class, () -> LoadedAdapter.of("x", merged));
      merged.adapter().unmerge();
      assertEquals(4 * TINY.layers(), LoadedAdapter.of("x", merged).updates().size());
    }
  }

  @Test
  void partsOfAWeightAddUp() {
    int[] text = text(3, 30);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32);
        LanguageModel merged = Unpacked.of(frozen)) {
      Random random = new Random(1);
      String weight = "h.1.attn.c_attn.weight";
      LoadedAdapter adapter =
          new LoadedAdapter(
              "parts",
              List.of(
                  RandomAdapters.update(random, weight, 24, 0, 24, 2),
                  RandomAdapters.update(random, weight, 24, 48, 24, 5),
                  RandomAdapters.update(random, weight, 24, 40, 10, 1)));
      RandomAdapters.merge(adapter, merged);
      float[][] expected = logits(merged.logitsGraph(1, 30), text);
      float[][] actual = logits(frozen, adapter, text);
      assertTrue(distance(expected, actual) < 1e-5);
      assertTrue(distance(actual, logits(frozen, null, text)) > 1e-2);
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void companyWithOtherAdaptersChangesNoBit(WeightFormat format) {
    try (Device device = Device.cpu(2)) {
      for (Family family : Family.values()) {
        assertCompanyChangesNoBit(device, family, format);
      }
    }
  }

  /** For the CUDA backend as well: see CudaTest. */
  static void assertCompanyChangesNoBit(Device device, Family family, WeightFormat format) {
    GptConfig config = TINY.withFamily(family, family == Family.GPT3 ? 7 : 0);
    try (LanguageModel model = LanguageModel.create(config, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder decoder = decoder(frozen)) {
      List<LoadedAdapter> adapters = new ArrayList<>();
      adapters.add(RandomAdapters.of(frozen, "a", 3));
      adapters.add(null);
      adapters.add(RandomAdapters.of(frozen, "b", 17));
      adapters.add(RandomAdapters.of(frozen, "c", 1, weight -> weight.contains("mlp")));
      adapters.add(RandomAdapters.of(frozen, "d", 8, weight -> weight.contains("attn")));
      adapters.add(adapters.get(0));
      int[] indices = new int[SLOTS];
      for (int slot = 0; slot < SLOTS; slot++) {
        boolean again = slot == SLOTS - 1;
        indices[slot] =
            adapters.get(slot) == null
                ? NONE
                : again ? indices[0] : decoder.loadAdapter(adapters.get(slot));
        decoder.setAdapter(slot, indices[slot]);
      }
      int[][] texts = new int[SLOTS][];
      float[][][] expected = new float[SLOTS][][];
      for (int slot = 0; slot < SLOTS; slot++) {
        texts[slot] = text(slot / 2, 10 + slot);
        expected[slot] = logits(frozen, adapters.get(slot), texts[slot]);
      }
      // Prompts of some tokens each, then a token of each.
      for (int from = 0, to = 7; from < 10; from = to, to++) {
        decoder.begin();
        int[] rows = new int[SLOTS];
        for (int slot = 0; slot < SLOTS; slot++) {
          for (int at = from; at < to; at++) {
            rows[slot] = decoder.add(slot, at, texts[slot][at]);
          }
          decoder.wantLogits(rows[slot]);
        }
        decoder.run();
        float[] logits = new float[VOCABULARY];
        for (int slot = 0; slot < SLOTS; slot++) {
          decoder.logits(rows[slot], logits);
          assertArrayEquals(
              expected[slot][to - 1], logits, family + " slot " + slot + " at " + (to - 1));
        }
      }
    }
  }

  @Test
  void anIndexThatIsUsedAgainHasNothingOfTheOneBefore() {
    int[] text = text(3, 20);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q8);
        PagedDecoder decoder = decoder(frozen)) {
      LoadedAdapter small =
          RandomAdapters.of(frozen, "small", 2, weight -> weight.contains("c_attn"));
      int large = decoder.loadAdapter(RandomAdapters.of(frozen, "large", 9));
      decoder.setAdapter(1, large);
      feed(decoder, 1, 0, text);
      decoder.unloadAdapter(large);
      assertEquals(large, decoder.loadAdapter(small));
      decoder.setAdapter(0, large);
      assertDeepEquals(logits(frozen, small, text), feed(decoder, 0, 0, text));
      // The slot that had the first has none.
      assertDeepEquals(logits(frozen, null, text), feed(decoder, 1, 0, text));
    }
  }

  @Test
  void othersMayBeLoadedWhileASequenceIsAtWork() {
    try (Device device = Device.cpu(2)) {
      assertOthersMayBeLoaded(device);
    }
  }

  /** For the CUDA backend as well, which records a graph when it runs for the second time. */
  static void assertOthersMayBeLoaded(Device device) {
    int[] text = text(3, 27);
    try (LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q8);
        PagedDecoder decoder = decoder(frozen)) {
      LoadedAdapter adapter = RandomAdapters.of(frozen, "a", 3);
      float[][] expected = logits(frozen, adapter, text);
      decoder.setAdapter(0, decoder.loadAdapter(adapter));
      for (int i = 0; i < 9; i++) {
        int from = 3 * i;
        float[][] actual = feed(decoder, 0, from, Arrays.copyOfRange(text, from, from + 3));
        assertDeepEquals(Arrays.copyOfRange(expected, from, from + 3), actual);
        if (i % 3 == 2) {
          assertEquals(1 + i / 3, decoder.loadAdapter(RandomAdapters.of(frozen, "b" + i, i)));
        }
      }
    }
  }

  private static void assertDeepEquals(float[][] expected, float[][] actual) {
    assertTrue(Arrays.deepEquals(expected, actual), "bits differ");
  }

  /** Without places: which of two tensors stands first is left open. */
  private static String operations(PagedDecoder decoder) {
    return decoder.describe().replaceAll("@\\d+", "");
  }

  private static int updates(PagedDecoder decoder) {
    return (int) decoder.describe().lines().filter(line -> line.matches(" *\\d+ lora .*")).count();
  }

  @Test
  void whatNoAdapterChangesCostsNothing() {
    int[] text = text(3, 9);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, WeightFormat.Q8);
        PagedDecoder plain = decoder(frozen);
        PagedDecoder decoder = decoder(frozen)) {
      float[][] expected = feed(plain, 0, 0, text);
      decoder.loadAdapter(new LoadedAdapter("nothing", List.of()));
      assertDeepEquals(expected, feed(decoder, 0, 0, text));
      assertEquals(operations(plain), operations(decoder));
      decoder.loadAdapter(RandomAdapters.of(frozen, "a", 3, weight -> weight.contains("c_attn")));
      assertDeepEquals(expected, feed(decoder, 0, 0, text)); // slot 0 has none
      assertEquals(0, updates(plain));
      assertEquals(TINY.layers(), updates(decoder));
      decoder.loadAdapter(RandomAdapters.of(frozen, "b", 3));
      assertDeepEquals(expected, feed(decoder, 0, 0, text));
      assertEquals(4 * TINY.layers(), updates(decoder));
    }
  }

  private static void assertRefused(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }

  @Test
  void adaptersOfAnotherBaseAreRefused() {
    GptConfig deeper = GptConfig.of(VOCABULARY, 40, 24, 3, 3);
    GptConfig wider = GptConfig.of(VOCABULARY, 40, 36, 2, 3);
    int[] text = text(3, 9);
    try (Device device = Device.cpu(1);
        FrozenModel frozen = FrozenModel.create(TINY, device, WeightFormat.Q4, 7);
        FrozenModel deep = FrozenModel.create(deeper, device, WeightFormat.Q4, 7);
        FrozenModel wide = FrozenModel.create(wider, device, WeightFormat.Q4, 7);
        PagedDecoder decoder = decoder(frozen)) {
      assertRefused(
          "adapter deep changes h.2.attn.c_attn.weight, which is no weight of a linear layer of"
              + " this model; it is an adapter of another base",
          () -> decoder.loadAdapter(RandomAdapters.of(deep, "deep", 2)));
      assertRefused(
          "adapter wide changes outputs 0 to 107 of 36 inputs of h.0.attn.c_attn.weight, which has"
              + " 72 outputs of 24 inputs; it is an adapter of another base",
          () -> decoder.loadAdapter(RandomAdapters.of(wide, "wide", 2)));
      Random random = new Random(1);
      for (String weight : List.of("wte.weight", "ln_f.weight", "h.0.attn.c_attn.bias", "x")) {
        LoadedAdapter odd =
            new LoadedAdapter("odd", List.of(RandomAdapters.update(random, weight, 24, 0, 1, 1)));
        assertThrows(IllegalArgumentException.class, () -> decoder.loadAdapter(odd));
      }
      LowRankUpdate past = RandomAdapters.update(random, "h.0.attn.c_attn.weight", 24, 70, 3, 1);
      assertThrows(
          IllegalArgumentException.class,
          () -> decoder.loadAdapter(new LoadedAdapter("past", List.of(past))));
      // All that was refused has left no trace.
      assertDeepEquals(logits(frozen, null, text), feed(decoder, 0, 0, text));
      assertEquals(0, decoder.loadAdapter(RandomAdapters.of(frozen, "right", 2)));
    }
  }

  @Test
  void updatesThatAreNoneAreRefused() {
    float nan = Float.NaN;
    assertRefused(
        "w: 3 and 2 numbers do not make an update of rank 2 to 1 outputs",
        () -> new LowRankUpdate("w", 0, 1, 2, new float[3], new float[2]));
    assertRefused(
        "w: 4 and 3 numbers do not make an update of rank 2 to 1 outputs",
        () -> new LowRankUpdate("w", 0, 1, 2, new float[4], new float[3]));
    assertRefused(
        "w: its update has a number that is not finite",
        () -> new LowRankUpdate("w", 0, 1, 1, new float[] {1, nan}, new float[1]));
    assertRefused(
        "w: its update has a number that is not finite",
        () -> new LowRankUpdate("w", 0, 1, 1, new float[2], new float[] {Float.NEGATIVE_INFINITY}));
    for (int[] size : new int[][] {{-1, 1, 1}, {0, 0, 1}, {0, 1, 0}}) {
      assertThrows(
          IllegalArgumentException.class,
          () -> new LowRankUpdate("w", size[0], size[1], size[2], new float[1], new float[1]));
    }
    assertThrows(IllegalArgumentException.class, () -> new LoadedAdapter(" ", List.of()));
  }

  @Test
  void whatIsNotThereIsRefused() {
    try (Device device = Device.cpu(1);
        FrozenModel frozen = FrozenModel.create(TINY, device, WeightFormat.Q4, 7)) {
      PagedDecoder decoder = decoder(frozen);
      LoadedAdapter adapter = RandomAdapters.of(frozen, "a", 2);
      int index = decoder.loadAdapter(adapter);
      decoder.setAdapter(0, index);
      decoder.setAdapter(0, NONE);
      Class<IndexOutOfBoundsException> range = IndexOutOfBoundsException.class;
      for (int[] wrong : new int[][] {{-1, 0}, {6, 0}, {0, 1}, {0, -2}}) {
        assertThrows(range, () -> decoder.setAdapter(wrong[0], wrong[1]));
      }
      assertThrows(range, () -> decoder.unloadAdapter(1));
      decoder.unloadAdapter(index);
      assertThrows(range, () -> decoder.unloadAdapter(index));
      assertThrows(range, () -> decoder.setAdapter(0, index));
      decoder.close();
      Class<IllegalStateException> state = IllegalStateException.class;
      assertThrows(state, () -> decoder.loadAdapter(adapter));
      assertThrows(state, () -> decoder.unloadAdapter(0));
      assertThrows(state, () -> decoder.setAdapter(0, NONE));
    }
  }
}
