package dev.sinter.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.io.TensorInfo.Dtype;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.Channels;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsWriterTest {
  @TempDir Path folder;

  @Test
  void theBytesAreThoseOfTheFormatsOwnLibraryInWhateverOrderTensorsAreAdded() throws IOException {
    byte[] golden = Files.readAllBytes(SafetensorsFileTest.golden("small.safetensors"));
    List<Consumer<SafetensorsWriter>> tensors =
        new ArrayList<>(
            List.of(
                w -> w.add("h.0.attn.c_attn.weight", new long[] {2, 6}, floats(12)),
                w -> w.add("größe 😀", new long[] {3}, floats(3)),
                w -> w.add("empty", new long[] {0, 4}, sink -> {}),
                w ->
                    w.add(
                        new TensorInfo("h.0.ln_1.bias", Dtype.BF16, new long[] {5}),
                        out -> {
                          for (float value : SafetensorsFileTest.ramp(5)) {
                            short upper = (short) (Float.floatToIntBits(value) >>> 16);
                            out.write(little(2).putShort(upper).flip());
                          }
                        }),
                w ->
                    w.add(
                        new TensorInfo("a scalar", Dtype.I64, new long[0]),
                        out -> out.write(little(8).putLong(-3).flip())),
                w ->
                    w.add(
                        new TensorInfo("mask", Dtype.BOOL, new long[] {3}),
                        out -> out.write(ByteBuffer.wrap(new byte[] {1, 0, 1})))));
    for (int order = 0; order < 5; order++) {
      Collections.shuffle(tensors, new Random(order));
      var writer = new SafetensorsWriter();
      for (var tensor : tensors) {
        tensor.accept(writer);
      }
      assertArrayEquals(golden, bytes(writer));
    }
  }

  @Test
  void dataBeginsAtAMultipleOfEightBytesForEveryLengthOfHeader() throws IOException {
    for (int length = 1; length <= 16; length++) {
      var writer = new SafetensorsWriter().add("n".repeat(length), new long[] {2}, floats(2));
      ByteBuffer bytes = ByteBuffer.wrap(bytes(writer)).order(ByteOrder.LITTLE_ENDIAN);
      long header = bytes.getLong(0);
      assertEquals(0, header % 8);
      assertEquals(bytes.capacity(), 8 + header + 8);
    }
  }

  @Test
  void whereItIsAlignedTensorsOfSuchSizesLieAtMultiples() throws IOException {
    for (int length = 1; length <= 70; length += 3) {
      Path path = folder.resolve("model.safetensors");
      new SafetensorsWriter()
          .aligned(64)
          .add("n".repeat(length), new long[] {3}, floats(3))
          .add("a", new long[] {32}, floats(32))
          .add(
              new TensorInfo("bytes", Dtype.U8, new long[] {192}),
              out -> out.write(ByteBuffer.allocate(192)))
          .write(path);
      try (SafetensorsFile file = SafetensorsFile.open(path)) {
        assertEquals(List.of("a", "bytes", "n".repeat(length)), List.copyOf(file.names()));
      }
      long header =
          ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN).getLong();
      assertEquals(0, (8 + header) % 64);
    }
    var writer = new SafetensorsWriter();
    assertThrows(IllegalArgumentException.class, () -> writer.aligned(4));
    assertThrows(IllegalArgumentException.class, () -> writer.aligned(12));
  }

  @Test
  void whatIsWrittenIsReadBackMetadataIncluded() throws IOException {
    Path path = folder.resolve("new/model.safetensors");
    int count = 300_000; // more than one chunk
    new SafetensorsWriter()
        .metadata(Map.of("step", "7", "note", "ü\n\""))
        .add("w", new long[] {3, count / 3}, floats(count))
        .write(path);
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      assertEquals(Map.of("format", "pt", "step", "7", "note", "ü\n\""), file.metadata());
      assertArrayEquals(
          SafetensorsFileTest.ramp(count), SafetensorsFileTest.floats(file, "w", count));
    }
  }

  @Test
  void aTensorThatGivesTooFewOrTooManyBytesLeavesTheOldFile() throws IOException {
    Path path = folder.resolve("model.safetensors");
    new SafetensorsWriter().add("w", new long[] {4}, floats(4)).write(path);
    byte[] before = Files.readAllBytes(path);
    for (int count : new int[] {0, 3, 5}) {
      var writer = new SafetensorsWriter().add("w", new long[] {4}, floats(count));
      var e = assertThrows(IllegalStateException.class, () -> writer.write(path));
      assertTrue(e.getMessage().contains("\"w\""), e::getMessage);
      assertArrayEquals(before, Files.readAllBytes(path));
    }
    try (var left = Files.list(folder)) {
      assertEquals(1, left.count());
    }
  }

  @Test
  void aNameThatNoReaderWouldAcceptIsRefused() {
    var writer = new SafetensorsWriter().add("w", new long[0], floats(1));
    for (String name : List.of("w", "__metadata__", "\ud800", "n".repeat(1001))) {
      assertThrows(IllegalArgumentException.class, () -> writer.add(name, new long[0], floats(1)));
    }
    assertThrows(IllegalArgumentException.class, () -> writer.add("rank", new long[17], floats(0)));
    assertThrows(
        IllegalArgumentException.class, () -> writer.add("size", new long[] {-1}, floats(0)));
  }

  @Test
  void aBufferOfAnyKindIsWrittenToItsLimit() throws IOException {
    ByteBuffer big = ByteBuffer.allocate(700_000);
    for (int i = 0; i < big.capacity(); i++) {
      big.put(i, (byte) (i * 31));
    }
    var writer =
        new SafetensorsWriter()
            .add(
                new TensorInfo("w", Dtype.U8, new long[] {big.capacity() - 3}),
                out -> {
                  ByteBuffer source = big.duplicate().position(1).limit(big.capacity() - 2);
                  assertEquals(big.capacity() - 3, out.write(source));
                  assertFalse(source.hasRemaining());
                });
    byte[] bytes = bytes(writer);
    assertEquals(
        ByteBuffer.wrap(bytes, bytes.length - big.capacity() + 3, big.capacity() - 3),
        big.duplicate().position(1).limit(big.capacity() - 2));
  }

  private static SafetensorsWriter.Elements floats(int count) {
    return sink -> sink.accept(FloatBuffer.wrap(SafetensorsFileTest.ramp(count)));
  }

  private static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static byte[] bytes(SafetensorsWriter writer) throws IOException {
    var bytes = new ByteArrayOutputStream();
    writer.writeTo(Channels.newChannel(bytes));
    return bytes.toByteArray();
  }
}
