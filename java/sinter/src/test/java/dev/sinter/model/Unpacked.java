package dev.sinter.model;

import dev.sinter.graph.DType;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.WeightFormat;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Packed weights as numbers again, by what sinter.h says of sn_weight_format. */
final class Unpacked {
  private Unpacked() {}

  /** A model with the same weights as plain fp32. */
  static LanguageModel of(FrozenModel frozen) {
    LanguageModel model = new LanguageModel(frozen.config(), frozen.device(), DType.F32);
    for (ParameterSpec spec : frozen.parameters().specs()) {
      float[] numbers = numbers(frozen, spec);
      int[] next = {0};
      try {
        model
            .parameters()
            .write(
                Parameters.Part.WEIGHT,
                spec.name(),
                target -> {
                  int count = target.remaining();
                  target.put(numbers, next[0], count);
                  next[0] += count;
                });
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
    return model;
  }

  private static float[] numbers(FrozenModel frozen, ParameterSpec spec) {
    int size = Math.toIntExact(frozen.parameters().bytes(spec.name()));
    ByteBuffer bytes = ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    try {
      frozen.parameters().readBytes(spec.name(), bytes::put);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    float[] numbers = new float[Math.toIntExact(spec.elements())];
    if (!frozen.parameters().isPacked(spec.name())) {
      bytes.rewind().asFloatBuffer().get(numbers);
      return numbers;
    }
    int rows = Math.toIntExact(spec.shape()[0]);
    int columns = Math.toIntExact(spec.shape()[1]);
    boolean tokens = spec.name().equals("wte.weight"); // [out, in], the others [in, out]
    int in = tokens ? columns : rows;
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        numbers[i * columns + j] =
            number(frozen.format(), bytes, in, tokens ? j : i, tokens ? i : j);
      }
    }
    return numbers;
  }

  private static float number(WeightFormat format, ByteBuffer bytes, int in, int k, int out) {
    int units = (in + 63) / 64;
    int o = out % 16;
    int unit = out / 16 * units + k / 64;
    int inUnit = k % 64;
    int block = inUnit / 32;
    int group = inUnit % 32 / 4;
    return switch (format) {
      case F32 -> bytes.getFloat(4 * (unit * 1024 + inUnit * 16 + o));
      case BF16 -> bf16(bytes, 2 * (unit * 1024 + inUnit / 2 * 32 + 2 * o + inUnit % 2));
      case Q8 -> {
        int start = unit * 1088;
        int number = bytes.get(start + 64 + ((block * 8 + group) * 16 + o) * 4 + k % 4) & 255;
        yield bf16(bytes, start + 2 * (block * 16 + o)) * (number - 128);
      }
      case Q4 -> {
        int start = unit * 576;
        int pair = bytes.get(start + 64 + ((block * 4 + group / 2) * 16 + o) * 4 + k % 4) & 255;
        int number = group % 2 == 0 ? pair & 15 : pair >> 4;
        yield bf16(bytes, start + 2 * (block * 16 + o)) * (number - 8);
      }
    };
  }

  private static float bf16(ByteBuffer bytes, int at) {
    return Float.intBitsToFloat(bytes.getShort(at) << 16);
  }
}
