package dev.sinter.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What llama.cpp's own package writes (tests/goldens/gguf_files.py), and what it never would. */
class GgufFileTest {
  private static final Path FOLDER = Path.of("src/test/resources/dev/sinter/gguf");

  @TempDir Path temporary;

  private static float[] golden(String name) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(FOLDER.resolve("golden.safetensors"))) {
      float[] values = new float[(int) file.info(name).elements()];
      file.floats(name).fill(FloatBuffer.wrap(values));
      return values;
    }
  }

  @ParameterizedTest
  @EnumSource(GgufFile.Type.class)
  void eachTypeWidensAsInTheFormatsOwnPackage(GgufFile.Type type) throws IOException {
    float[] expected = golden("types/" + type);
    try (GgufFile file = GgufFile.open(FOLDER.resolve("types.gguf"))) {
      assertEquals(type, file.info(type.name()).type());
      assertEquals(expected.length, file.info(type.name()).elements());
      float[] actual = new float[expected.length];
      file.floats(type.name()).fill(FloatBuffer.wrap(actual));
      assertArrayEquals(expected, actual);
      // In pieces that end inside of blocks, and from the middle.
      GgufFile.FloatReader reader = file.floats(type.name());
      Arrays.fill(actual, 0);
      for (int at = 0; at < actual.length; at += 7) {
        reader.fill(FloatBuffer.wrap(actual, at, Math.min(7, actual.length - at)));
      }
      assertArrayEquals(expected, actual);
      assertThrows(IndexOutOfBoundsException.class, () -> reader.fill(FloatBuffer.allocate(1)));
      reader.seek(expected.length / 2);
      FloatBuffer half = FloatBuffer.allocate(expected.length / 2);
      reader.fill(half);
      assertEquals(
          FloatBuffer.wrap(expected, expected.length / 2, expected.length / 2), half.flip());
      if (type.block() > 1) {
        assertThrows(IllegalArgumentException.class, () -> reader.seek(1));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3})
  void readsSettingsOfEveryKind(int version) throws IOException {
    GgufWriter writer =
        new GgufWriter()
            .set("int", 7)
            .set("long", 1L << 40)
            .set("float", 0.5f)
            .set("double", 0.25)
            .set("truth", true)
            .set("text", "ä")
            .set("long text", "ab".repeat(50_000))
            .set("texts", List.of("a", "", "c"))
            .set("ints", List.of(1, 2))
            .set("nested", List.of(List.of(1), List.of()))
            .add("m", new long[] {2, 3}, 0, 1, 2, 3, 4, 5)
            .add("v", new long[] {1}, 9);
    Path path = Files.write(temporary.resolve("a.GGUF"), writer.bytes(version));
    assertTrue(GgufFile.isNamed(path));
    assertFalse(GgufFile.isNamed(temporary));
    try (GgufFile file = GgufFile.open(path)) {
      assertEquals(7, file.number("int"));
      assertEquals(3, file.number("none", 3));
      assertEquals(0.5, file.fraction("float"));
      assertEquals(0.25, file.fraction("double"));
      assertEquals(true, file.setting("truth"));
      assertEquals("ä", file.text("text", ""));
      assertEquals(100_000, file.text("long text", "").length());
      assertEquals(List.of("a", "", "c"), file.texts("texts"));
      assertEquals(List.of(1, 2), file.numbers("ints"));
      assertEquals(List.of(), file.numbers("none"));
      assertEquals(List.of(List.of(1L), List.of()), file.setting("nested"));
      assertEquals(10, file.keys().size());
      assertArrayEquals(new long[] {2, 3}, file.info("m").shape());
      assertNull(file.info("w"));
      FloatBuffer values = FloatBuffer.allocate(6);
      file.floats("m").fill(values);
      assertEquals(FloatBuffer.wrap(new float[] {0, 1, 2, 3, 4, 5}), values.flip());
      assertSays("beyond 32 bits", () -> file.number("long"));
      assertSays("is no whole number", () -> file.number("text"));
      assertSays("lacks setting", () -> file.number("none"));
      assertSays("is no text", () -> file.text("int", ""));
      assertSays("is no list of texts", () -> file.texts("ints"));
      assertSays("is no list of whole numbers", () -> file.numbers("texts"));
      assertSays("there is no tensor", () -> file.floats("w"));
    }
  }

  private static void assertSays(String words, org.junit.jupiter.api.function.Executable code) {
    String line = assertThrows(FormatException.class, code).getMessage();
    assertTrue(line.contains(words), line);
    assertEquals(1, line.lines().count());
  }

  private void assertRefused(String words, byte[] bytes) throws IOException {
    Path path = Files.write(temporary.resolve("broken.gguf"), bytes);
    assertSays(words, () -> GgufFile.open(path));
  }

  private static GgufWriter small() {
    return new GgufWriter().set("a", 1).add("m", new long[] {8}, new float[8]);
  }

  /** A header that says so many tensors and settings, and what follows. */
  private static byte[] header(long tensors, long settings, Object... rest) {
    byte[] bytes = new byte[1 << 12];
    ByteBuffer out = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    out.put("GGUF".getBytes(StandardCharsets.US_ASCII)).putInt(3);
    out.putLong(tensors).putLong(settings);
    for (Object one : rest) {
      if (one instanceof Integer number) {
        out.putInt(number);
      } else if (one instanceof Long number) {
        out.putLong(number);
      } else {
        out.put(((String) one).getBytes(StandardCharsets.ISO_8859_1));
      }
    }
    return bytes;
  }

  @Test
  void whatIsNoSuchFileIsRefused() throws IOException {
    assertRefused("not a GGUF file", new byte[0]);
    assertRefused("not a GGUF file", new byte[100]);
    assertRefused("version 1;", small().bytes(1));
    assertRefused("version 4;", small().bytes(4));
    assertRefused("big-endian", small().bytes(3 << 24));
    assertSays("no such file", () -> GgufFile.open(temporary.resolve("none.gguf")));
    assertSays("no regular file", () -> GgufFile.open(temporary));
  }

  @Test
  void everyTruncationIsRefused() throws IOException {
    byte[] whole = small().set("b", List.of("x", "y")).bytes(3);
    for (int length = 0; length < whole.length; length++) {
      Path path = Files.write(temporary.resolve("cut.gguf"), Arrays.copyOf(whole, length));
      assertThrows(FormatException.class, () -> GgufFile.open(path));
    }
  }

  @Test
  void countsAndLengthsThatLieAreRefusedBeforeAnythingIsAllocated() throws IOException {
    for (long lie : new long[] {-1, Long.MAX_VALUE, 1L << 32, 1 << 16, 1000}) {
      String count = Long.toUnsignedString(lie);
      assertRefused(count + " tensors", header(lie, 0));
      assertRefused(count + " settings", header(0, lie));
      assertRefused(count + " elements of \"a\"", header(0, 1, 1L, "a", 9, 8, lie));
    }
    for (long lie : new long[] {-1, Long.MAX_VALUE, 1L << 32, 1 << 21, 5000}) {
      String bytes = Long.toUnsignedString(lie) + " bytes";
      assertRefused(bytes, header(0, 1, lie));
      assertRefused(bytes, header(0, 1, 1L, "a", 8, lie));
      assertRefused(bytes, header(1, 0, lie));
    }
  }

  @Test
  void settingsThatBreakTheFormatAreRefused() throws IOException {
    assertRefused("unknown kind 13", header(0, 1, 1L, "a", 13));
    assertRefused("unknown kind 4294967295", header(0, 1, 1L, "a", -1));
    assertRefused("neither true nor false", header(0, 1, 1L, "a", 7, 2));
    assertRefused("beyond 2^63 - 1", header(0, 1, 1L, "a", 10, -1L));
    assertRefused("not UTF-8", header(0, 1, 1L, "a", 8, 1L, "\u00ff"));
    assertRefused("stands twice", header(0, 2, 1L, "a", 4, 1, 1L, "a", 4, 1));
    Object deep = List.of(1);
    for (int i = 0; i < 4; i++) {
      deep = List.of(deep);
    }
    assertRefused("nests more", new GgufWriter().set("a", deep).bytes(3));
    for (Object alignment : List.of(0, 3, 1 << 20, "32", -1L)) {
      assertThrows(
          FormatException.class,
          () ->
              GgufFile.open(
                  new GgufWriter()
                      .set("general.alignment", alignment)
                      .write(temporary.resolve("alignment.gguf"))));
    }
  }

  @Test
  void tensorsThatBreakTheFormatAreRefused() throws IOException {
    byte[] data = new byte[64];
    assertRefused("type Q4_K", one(12, 256));
    assertRefused("type 99", one(99, 256));
    assertRefused("type 4294967295", one(-1, 256));
    assertRefused("blocks of 32", one(8, 4));
    assertRefused("dimension of 0", one(0, 0));
    assertRefused("dimension of 18446744073709551615", one(0, -1));
    assertRefused("damaged", one(0, 1L << 40, 1L << 40));
    assertRefused("0 dimensions", one(0));
    assertRefused("5 dimensions", one(0, 1, 1, 1, 1, 1));
    assertRefused("it is truncated", one(0, 17));
    assertRefused("it is truncated", one(0, 1L << 50));
    for (long offset : new long[] {1, 31, 1 << 20, Long.MAX_VALUE, Long.MIN_VALUE}) {
      assertRefused(
          "outside the file, or not aligned",
          new GgufWriter().add("m", 0, new long[] {16}, data, offset).bytes(3));
    }
    assertRefused(
        "overlap",
        new GgufWriter()
            .add("a", 0, new long[] {16}, data, 0)
            .add("b", 0, new long[] {16}, data, 32)
            .bytes(3));
    assertRefused(
        "stands twice",
        new GgufWriter()
            .add("a", 0, new long[] {16}, data, 0)
            .add("a", 0, new long[] {16}, data, 64)
            .bytes(3));
  }

  private static byte[] one(int type, long... shape) {
    return new GgufWriter().add("m", type, shape, new byte[64], -1).bytes(3);
  }

  @Test
  void damagedFilesOpenOrSayWhyNot() throws IOException {
    byte[] whole = Files.readAllBytes(FOLDER.resolve("gpt2-q4_0.gguf"));
    Random random = new Random(1);
    for (int i = 0; i < 500; i++) {
      byte[] bytes = whole.clone();
      for (int change = random.nextInt(4); change >= 0; change--) {
        bytes[random.nextInt(i % 2 == 0 ? 200 : bytes.length)] = (byte) random.nextInt();
      }
      Path path = Files.write(temporary.resolve("damaged.gguf"), bytes);
      assertDoesNotThrow(
          () -> {
            try (GgufFile file = GgufFile.open(path)) {
              for (String name : file.names()) {
                file.floats(name).fill(FloatBuffer.allocate((int) file.info(name).elements()));
              }
            } catch (FormatException e) {
              assertEquals(1, e.getMessage().lines().count());
            }
          });
    }
  }

  @Test
  void aClosedFileGivesNothing() throws IOException {
    GgufFile file = GgufFile.open(small().write(temporary.resolve("closed.gguf")));
    GgufFile.FloatReader reader = file.floats("m");
    file.close();
    file.close();
    assertThrows(IOException.class, () -> reader.fill(FloatBuffer.allocate(8)));
  }
}
