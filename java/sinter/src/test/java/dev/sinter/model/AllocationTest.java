package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.management.ThreadMXBean;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Sampler;
import dev.sinter.graph.WeightFormat;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A step of training or decoding leaves nothing on the Java heap. */
class AllocationTest {
  private static final GptConfig TINY = GptConfig.of(61, 40, 24, 2, 3);

  /** Bytes that one run allocates: the least of many, as the compiler allocates while it works. */
  private static long allocated(Runnable run) {
    var threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long least = Long.MAX_VALUE;
    for (int i = 0; i < 30; i++) {
      long before = threads.getCurrentThreadAllocatedBytes();
      run.run();
      least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
    }
    return least;
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aTrainingStepAllocatesNothing(DType dtype) {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY.withDropout(0.1f), device, dtype, 7);
        TrainingGraph graph = model.trainingGraph(2, 9, 1, Recompute.NONE, 5)) {
      int[] text = new int[18];
      Arrays.fill(text, 3);
      var settings = new Parameters.AdamW(1e-3f, 0.9f, 0.99f, 1e-8f, 0.1f, 1);
      long[] step = {0};
      assertEquals(
          0,
          allocated(
              () -> {
                graph.tokens().put(text);
                graph.targets().put(text);
                graph.run(step[0], false);
                model.parameters().gradientNorm();
                model.parameters().update(settings, ++step[0]);
              }));
      var update = new Parameters.Update(settings, 1);
      assertEquals(
          0,
          allocated(
              () -> {
                graph.tokens().put(text);
                graph.targets().put(text);
                graph.run(step[0], false, update);
                model.parameters().lastNorm();
              }));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aDecodedTokenAllocatesNothing(DType dtype) {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, dtype, 7);
        Decoder decoder = model.decoder(1, 40)) {
      decoder.sampler().set(1.1f, 0.8f, 5, 0.9f, 0);
      int[] fed = {3};
      assertEquals(0, allocated(() -> fed[0] = decoder.next(fed, decoder.length())[0]));
    }
  }

  @ParameterizedTest
  @EnumSource(WeightFormat.class)
  void aStepOfManySequencesAllocatesNothing(WeightFormat format) {
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 7);
        FrozenModel frozen = FrozenModel.of(model, format);
        PagedDecoder decoder = new PagedDecoder(frozen, 20, 8, 4, 32)) {
      for (int page = 0; page < 20; page++) {
        decoder.setPage(page / 5, page % 5, page);
      }
      var how = new Sampler.Settings(1.1f, 0.8f, 5, 0.9f, 0);
      float[] logits = new float[61];
      int[] fed = {3, 1, 4, 1};
      int[] position = {0};
      assertEquals(
          0,
          allocated(
              () -> {
                int at = position[0]++;
                decoder.begin();
                for (int slot = 0; slot < 4; slot++) {
                  decoder.setPage(slot, at / 8, 5 * slot + at / 8);
                  decoder.setToken(slot, at, fed[slot]);
                  int row = decoder.add(slot, at, fed[slot]);
                  if (slot == 3) {
                    decoder.wantLogits(row);
                  } else {
                    decoder.choose(row, how, slot, at, at + 1);
                  }
                }
                decoder.run();
                decoder.logits(3, logits);
                for (int slot = 0; slot < 4; slot++) {
                  fed[slot] = decoder.token(slot);
                }
              }));
    }
  }
}
