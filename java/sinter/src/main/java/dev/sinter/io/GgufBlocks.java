package dev.sinter.io;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

/** The blocks in which a GGUF file stores elements, each one widened to fp32. */
final class GgufBlocks {
  private GgufBlocks() {}

  /** Takes all blocks of the source. */
  static void widen(GgufFile.Type type, ByteBuffer source, FloatBuffer target) {
    if (type == GgufFile.Type.F32) {
      target.put(source.asFloatBuffer());
      return;
    }
    while (source.hasRemaining()) {
      widenBlock(type, source, target);
    }
  }

  private static void widenBlock(GgufFile.Type type, ByteBuffer source, FloatBuffer target) {
    switch (type) {
      case F32 -> target.put(source.getFloat());
      case F16 -> target.put(half(source));
      case BF16 -> target.put(Float.intBitsToFloat(source.getShort() << 16));
      case Q8_0 -> {
        float scale = half(source);
        for (int i = 0; i < 32; i++) {
          target.put(scale * source.get());
        }
      }
      case Q4_0 -> fourBits(source, target);
      case Q6_K -> sixBits(source, target);
    }
  }

  /** The first half of the elements has the low bits of the bytes, the second the high bits. */
  private static void fourBits(ByteBuffer source, FloatBuffer target) {
    float scale = half(source);
    int at = source.position();
    for (int i = 0; i < 32; i++) {
      int pair = source.get(at + i % 16);
      target.put(scale * ((i < 16 ? pair & 15 : pair >> 4 & 15) - 8));
    }
    source.position(at + 16);
  }

  /** 128 bytes of low four bits, 64 of high two bits, 16 scales, and the scale of these. */
  private static void sixBits(ByteBuffer source, FloatBuffer target) {
    int at = source.position();
    source.position(at + 208);
    float scale = half(source);
    for (int i = 0; i < 256; i++) {
      int half = i / 128;
      int inHalf = i % 128;
      int low = source.get(at + 64 * half + inHalf % 64) >> (inHalf < 64 ? 0 : 4) & 15;
      int high = source.get(at + 128 + 32 * half + inHalf % 32) >> 2 * (inHalf / 32) & 3;
      target.put(scale * source.get(at + 192 + i / 16) * ((low | high << 4) - 32));
    }
  }

  private static float half(ByteBuffer source) {
    return SafetensorsFile.halfToFloat(source.getShort());
  }
}
