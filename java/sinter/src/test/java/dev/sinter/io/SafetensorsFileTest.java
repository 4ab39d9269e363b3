package dev.sinter.io;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The golden files were written by the safetensors library; tests/goldens/safetensors_files.py
 * makes them.
 */
class SafetensorsFileTest {
  @TempDir Path folder;

  @Test
  void aFileOfTheFormatsOwnLibraryIsRead() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(golden("small.safetensors"))) {
      assertEquals(
          Set.of(
              "h.0.attn.c_attn.weight", "h.0.ln_1.bias", "a scalar", "empty", "größe 😀", "mask"),
          file.names());
      assertEquals(Map.of("format", "pt"), file.metadata());
      TensorInfo weight = file.info("h.0.attn.c_attn.weight");
      assertEquals(TensorInfo.Dtype.F32, weight.dtype());
      assertArrayEquals(new long[] {2, 6}, weight.shape());
      assertArrayEquals(ramp(12), floats(file, weight.name(), 12));
      assertArrayEquals(ramp(5), floats(file, "h.0.ln_1.bias", 5));
      assertArrayEquals(ramp(3), floats(file, "größe 😀", 3));
      assertArrayEquals(new long[] {0, 4}, file.info("empty").shape());
      assertArrayEquals(new float[0], floats(file, "empty", 0));
      assertArrayEquals(new long[0], file.info("a scalar").shape());
      assertEquals(-3, file.map("a scalar", 0, 8).getLong());
      ByteBuffer mask = ByteBuffer.allocate(3);
      file.read("mask", 0, mask);
      assertArrayEquals(new byte[] {1, 0, 1}, mask.array());
    }
  }

  @Test
  void aShardedModelOfHuggingFaceIsReadAsOneFile() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(golden("sharded"))) {
      assertEquals(5, file.names().size());
      for (int i = 0; i < 5; i++) {
        float[] expected = ramp(16);
        for (int j = 0; j < 16; j++) {
          expected[j] += i;
        }
        assertArrayEquals(expected, floats(file, "layer." + i + ".weight", 16));
      }
    }
  }

  @Test
  void everyHalfIsWidenedToTheFloatOfTheSameValue() {
    for (int bits = 0; bits < 1 << 16; bits++) {
      int exponent = bits >> 10 & 31;
      double fraction = (bits & 1023) / 1024.0;
      double magnitude =
          switch (exponent) {
            case 0 -> Math.scalb(fraction, -14);
            case 31 -> fraction == 0 ? Double.POSITIVE_INFINITY : Double.NaN;
            default -> Math.scalb(1 + fraction, exponent - 15);
          };
      float expected = (float) (bits >> 15 == 0 ? magnitude : -magnitude);
      assertEquals(expected, SafetensorsFile.halfToFloat((short) bits), Integer.toHexString(bits));
    }
  }

  @Test
  void halvesOfTheFormatsOwnLibraryAreRead() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(golden("half.safetensors"))) {
      assertArrayEquals(
          new float[] {
            0, -0f, 1, -2.5f, 65504, 0x1p-24f, 0x1.ff8p-15f, Float.POSITIVE_INFINITY, Float.NaN
          },
          floats(file, "half", 9));
    }
  }

  @Test
  void aReaderGivesTheSameElementsInWhateverPiecesTheyAreAsked() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(golden("small.safetensors"))) {
      SafetensorsFile.FloatReader reader = file.floats("h.0.ln_1.bias");
      FloatBuffer all = FloatBuffer.allocate(5);
      for (int limit : new int[] {1, 1, 4, 5}) {
        reader.fill(all.limit(limit));
      }
      assertArrayEquals(ramp(5), all.array());
      assertThrows(IndexOutOfBoundsException.class, () -> reader.fill(FloatBuffer.allocate(1)));
    }
  }

  @Test
  void dataAtAnOddAddressIsMappedAlignedForItsType() throws IOException {
    // Seven bytes of U8 come first, so the F32 after them is not where a float may stand.
    Path path =
        write(
            header(
                "'a':{'dtype':'U8','shape':[7],'data_offsets':[0,7]}",
                "'b':{'dtype':'F32','shape':[2],'data_offsets':[7,15]}"),
            new byte[] {1, 2, 3, 4, 5, 6, 7, 0, 0, (byte) 128, 63, 0, 0, 0, (byte) 192});
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      ByteBuffer mapped = file.map("b", 0, 8);
      assertEquals(0, mapped.alignmentOffset(0, 4));
      assertTrue(mapped.isDirect() && mapped.isReadOnly());
      assertEquals(1f, mapped.getFloat(0));
      assertEquals(-2f, mapped.getFloat(4));
      assertArrayEquals(new float[] {1, -2}, floats(file, "b", 2));
    }
  }

  @Test
  void aTensorOfMoreThanTwoGigabytesIsReadAndMappedAtItsEnd() throws IOException {
    long elements = 3L << 28; // 3 GiB
    Path path = folder.resolve("large.safetensors");
    byte[] header =
        header(
                "'w':{'dtype':'F32','shape':["
                    + elements
                    + "],'data_offsets':[0,"
                    + 4 * elements
                    + "]}")
            .getBytes(StandardCharsets.UTF_8);
    try (FileChannel channel =
        FileChannel.open(
            path,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.WRITE)) {
      channel.write(ByteBuffer.wrap(withLength(header, new byte[0])));
      ByteBuffer last = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(42).flip();
      channel.write(last, 8 + header.length + 4 * elements - 4);
    }
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      ByteBuffer bytes = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
      file.read("w", 4 * elements - 8, bytes);
      assertEquals(0f, bytes.getFloat(0));
      assertEquals(42f, bytes.getFloat(4));
      assertEquals(42f, file.map("w", 4 * elements - 4, 4).getFloat());
      assertThrows(IndexOutOfBoundsException.class, () -> file.map("w", 4 * elements - 3, 4));
      assertThrows(
          IndexOutOfBoundsException.class,
          () -> file.read("w", 4 * elements, ByteBuffer.allocate(1)));
    }
  }

  @Test
  void afterClosingReadsFailAndMappedDataStays() throws IOException {
    SafetensorsFile file = SafetensorsFile.open(golden("small.safetensors"));
    ByteBuffer mapped = file.map("h.0.attn.c_attn.weight", 0, 48);
    SafetensorsFile.FloatReader reader = file.floats("h.0.ln_1.bias");
    file.close();
    file.close();
    assertEquals(-1.5f, mapped.getFloat());
    assertThrows(IllegalStateException.class, () -> reader.fill(FloatBuffer.allocate(1)));
    assertThrows(IllegalStateException.class, () -> file.floats("h.0.ln_1.bias"));
    assertThrows(IllegalStateException.class, () -> file.map("mask", 0, 1));
  }

  @Test
  void missingUnexpectedAndMisshapenTensorsAreReportedTogether() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(golden("small.safetensors"))) {
      assertNull(file.info("nothing"));
      Map<String, long[]> expected =
          Map.of("h.0.attn.c_attn.weight", new long[] {6, 2}, "h.0.ln_1.weight", new long[] {5});
      var e =
          assertThrows(
              FormatException.class,
              () -> file.requireTensors(expected, Set.of("a scalar", "empty", "größe 😀", "mask")));
      assertTrue(
          e.getMessage().contains("h.0.attn.c_attn.weight is [2, 6], not [6, 2]"), e::getMessage);
      assertTrue(e.getMessage().contains("missing h.0.ln_1.weight"), e::getMessage);
      assertTrue(e.getMessage().contains("unexpected \"h.0.ln_1.bias\""), e::getMessage);
      assertDoesNotThrow(
          () ->
              file.requireTensors(
                  Map.of("h.0.ln_1.bias", new long[] {5}), Set.copyOf(file.names())));
    }
  }

  @Test
  void aTensorOfIntegersIsNoWeight() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(golden("small.safetensors"))) {
      var e = assertThrows(FormatException.class, () -> file.floats("a scalar"));
      assertTrue(e.getMessage().contains("I64"), e::getMessage);
      assertThrows(FormatException.class, () -> file.floats("nothing"));
    }
  }

  @Test
  void aFileThatIsNoneIsRefusedWithItsSizes() throws IOException {
    Path path = folder.resolve("model.safetensors");
    Files.write(path, new byte[] {-1, -1, -1, -1, -1, -1, -1, 127, 0, 0});
    assertRefused(
        path,
        "header says 9223372036854775807 bytes, the file has 10; it is truncated or not a"
            + " safetensors file");
    Files.write(path, new byte[] {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0});
    assertRefused(path, "header says 18446744073709551615 bytes, the file has 10");
    Files.write(path, new byte[3]);
    assertRefused(path, "the file has 3 bytes");
    Files.write(path, new byte[0]);
    assertRefused(path, "the file has 0 bytes");
    assertRefused(folder.resolve("none"), "no such file");
    Files.delete(path);
    assertRefused(folder, "has neither model.safetensors nor model.safetensors.index.json");
  }

  @Test
  void aHeaderOfMoreThanAHundredMillionBytesIsRefusedUnread() throws IOException {
    Path path = folder.resolve("model.safetensors");
    try (FileChannel channel =
        FileChannel.open(
            path,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.WRITE)) {
      channel.write(
          ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(100_000_001).flip());
      channel.write(ByteBuffer.wrap(new byte[] {0}), 200_000_000);
    }
    assertRefused(path, "header says 100000001 bytes, at most 100000000 are read");
  }

  static Stream<Arguments> badHeaders() {
    String good = "'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}";
    return Stream.of(
        Arguments.of("leading space", " {}", 0, "not one JSON object"),
        Arguments.of("leading newline", "\n{}", 0, "not one JSON object"),
        Arguments.of("byte order mark", "\ufeff{}", 0, "not one JSON object"),
        Arguments.of("padding of zeros", "{}\0\0", 0, "not one JSON object"),
        Arguments.of("padding of newlines", "{}\n", 0, "not one JSON object"),
        Arguments.of("array", "[]", 0, "not one JSON object"),
        Arguments.of("no header", "", 0, "not one JSON object"),
        Arguments.of("two objects", "{} {}", 0, "goes on"),
        Arguments.of("cut off", "{'a':}", 0, "not valid JSON"),
        Arguments.of("comment", "{/**/}", 0, "not valid JSON"),
        Arguments.of("trailing comma", "{" + good + ",}", 4, "not valid JSON"),
        Arguments.of("deep nesting", "{'a':" + "[".repeat(100_000) + "}", 0, "to be an object"),
        Arguments.of("tensor that is a list", "{'a':[]}", 0, "to be an object"),
        Arguments.of("duplicate tensor", "{" + good + "," + good + "}", 4, "stands twice"),
        Arguments.of("unknown field", header(good.replace("}", ",'x':1}")), 4, "unknown field"),
        Arguments.of(
            "duplicate field", header(good.replace("}", ",'shape':[1]}")), 4, "shape stands twice"),
        Arguments.of("missing field", header("'a':{'dtype':'F32','shape':[1]}"), 4, "lacks"),
        Arguments.of("unknown dtype", header(good.replace("F32", "F33")), 4, "unknown dtype"),
        Arguments.of("lower-case dtype", header(good.replace("F32", "f32")), 4, "unknown dtype"),
        Arguments.of("dtype null", header(good.replace("'F32'", "null")), 4, "to be a string"),
        Arguments.of("negative size", header(good.replace("[1]", "[-1]")), 4, "integers"),
        Arguments.of("negative zero", header(good.replace("[1]", "[-0]")), 4, "integers"),
        Arguments.of("fraction", header(good.replace("[1]", "[1.0]")), 4, "integers"),
        Arguments.of("exponent", header(good.replace("[1]", "[1e0]")), 4, "integers"),
        Arguments.of("text for a number", header(good.replace("[1]", "['1']")), 4, "integers"),
        Arguments.of(
            "number of 64 bits",
            header(good.replace("[1]", "[9223372036854775808]")),
            4,
            "beyond 2^63"),
        Arguments.of(
            "product of more than 63 bits",
            header(good.replace("[1]", "[4294967296,4294967296]")),
            4,
            "larger than any file"),
        Arguments.of(
            "bytes of more than 63 bits",
            header(good.replace("[1]", "[4611686018427387904]")),
            4,
            "larger than any file"),
        Arguments.of(
            "too many dimensions",
            header(good.replace("[1]", "[" + "1,".repeat(16) + "1]")),
            4,
            "more than 16"),
        Arguments.of("long name", header(good.replace("a", "b".repeat(1001))), 4, "characters"),
        Arguments.of("size that differs", header(good.replace("[1]", "[2]")), 4, "takes 8 bytes"),
        Arguments.of("end before begin", header(good.replace("[0,4]", "[4,0]")), 4, "begin and an"),
        Arguments.of("one offset", header(good.replace("[0,4]", "[4]")), 4, "begin and an end"),
        Arguments.of("three offsets", header(good.replace("[0,4]", "[0,4,4]")), 4, "more than 2"),
        Arguments.of("negative offset", header(good.replace("[0,4]", "[-4,0]")), 4, "integers"),
        Arguments.of(
            "half a byte",
            header("'a':{'dtype':'F4','shape':[1],'data_offsets':[0,1]}"),
            1,
            "inside a byte"),
        Arguments.of("hole at the start", header(good.replace("[0,4]", "[4,8]")), 8, "begins at"),
        Arguments.of(
            "hole",
            header(good, good.replace("a'", "b'").replace("[0,4]", "[5,9]")),
            9,
            "begins at byte 5 of the data, the one before it ends at 4"),
        Arguments.of("overlap", header(good, good.replace("a'", "b'")), 4, "begins at byte 0"),
        Arguments.of("missing data", header(good), 3, "truncated"),
        Arguments.of("no data", header(good), 0, "truncated"),
        Arguments.of("trailing data", header(good), 5, "not accounted for"),
        Arguments.of("data without tensors", "{}", 1, "not accounted for"),
        Arguments.of("metadata of numbers", "{'__metadata__':{'a':1}}", 0, "strings only"),
        Arguments.of("metadata null", "{'__metadata__':null}", 0, "to be an object"),
        Arguments.of("metadata twice", "{'__metadata__':{},'__metadata__':{}}", 0, "stands twice"),
        Arguments.of("duplicate metadata", "{'__metadata__':{'a':'','a':''}}", 0, "stands twice"),
        Arguments.of("half a surrogate pair", header(good.replace("a'", "\\ud800'")), 4, "pair"));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("badHeaders")
  void aHeaderThatBreaksARuleIsRefused(String what, String header, int data, String why)
      throws IOException {
    assertRefused(write(header, new byte[data]), why);
  }

  @Test
  void aHeaderThatIsNotUtf8IsRefused() throws IOException {
    byte[] header = "{\"a\":{}}".getBytes(StandardCharsets.US_ASCII);
    header[2] = (byte) 0xff;
    Path path = folder.resolve("model.safetensors");
    Files.write(path, withLength(header, new byte[0]));
    assertRefused(path, "not valid UTF-8");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{}",
        "{}     ",
        "{ \n}",
        "{'__metadata__':{}}",
        "{'a':{'data_offsets':[0,0],'shape':[3,0],'dtype':'F32'}}",
        "{'a':{'data_offsets':[0,0],'shape':[0],'dtype':'F32'},'b':{'data_offsets':[0,0],'shape':[0],'dtype':'F4'}}"
      })
  void aHeaderThatTheFormatAllowsIsRead(String header) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(write(header, new byte[0]))) {
      assertTrue(file.names().stream().allMatch(name -> file.info(name).bytes() == 0));
    }
  }

  @Test
  void aMessageStaysOneLineWhateverATensorIsCalled() throws IOException {
    var e =
        assertRefused(
            write(header("'x\\n\\u001b[31m" + "y".repeat(500) + "':{}"), new byte[0]), "lacks");
    assertTrue(e.getMessage().length() < 300 + folder.toString().length(), e::getMessage);
  }

  static Stream<Arguments> badIndexes() {
    return Stream.of(
        Arguments.of("{'weight_map':{'a':'../one.safetensors'}}", "not a plain file name"),
        Arguments.of("{'weight_map':{'a':'/etc/one.safetensors'}}", "not a plain file name"),
        Arguments.of("{'weight_map':{'a':'b\\\\one.safetensors'}}", "not a plain file name"),
        Arguments.of("{'weight_map':{'a':'C:one.safetensors'}}", "not a plain file name"),
        Arguments.of("{'weight_map':{'a':''}}", "not a plain file name"),
        Arguments.of("{'weight_map':{'a':'..'}}", "not a plain file name"),
        Arguments.of("{'weight_map':{'a':1}}", "not mapped to a file name"),
        Arguments.of("{'weight_map':['a']}", "weight_map is not an object"),
        Arguments.of("{'weight_map':{},'weight_map':{}}", "stands twice"),
        Arguments.of(
            "{'weight_map':{'a':'one.safetensors','a':'one.safetensors'}}", "stands twice"),
        Arguments.of("{'metadata':{}}", "has no weight_map"),
        Arguments.of("[]", "not a JSON object"),
        Arguments.of("", "not a JSON object"),
        Arguments.of("{'weight_map':", "not valid JSON"),
        Arguments.of("{} 1", "goes on"),
        Arguments.of("{'weight_map':{'a':'none.safetensors'}}", "no such file"),
        Arguments.of("{'weight_map':{'b':'one.safetensors'}}", "lacks tensor \"b\""));
  }

  @ParameterizedTest(name = "{index}: {1}")
  @MethodSource("badIndexes")
  void anIndexThatBreaksARuleIsRefused(String json, String why) throws IOException {
    Files.move(
        write(header("'a':{'dtype':'U8','shape':[],'data_offsets':[0,1]}"), new byte[1]),
        folder.resolve("one.safetensors"));
    Path index = folder.resolve(SafetensorsFile.INDEX_NAME);
    Files.writeString(index, json.replace('\'', '"'));
    assertRefused(folder, why);
  }

  @Test
  void aDamagedFileIsReadOrRefusedAndNothingElse() throws IOException {
    byte[] good = Files.readAllBytes(golden("small.safetensors"));
    var random = new SplittableRandom(20260101);
    Path path = folder.resolve("model.safetensors");
    int refused = 0;
    for (int i = 0; i < 4_000; i++) {
      byte[] bad = mutate(good, random);
      Files.write(path, bad);
      try (SafetensorsFile file = SafetensorsFile.open(path)) {
        for (String name : file.names()) {
          file.read(name, 0, ByteBuffer.allocate((int) file.info(name).bytes()));
        }
      } catch (FormatException e) {
        assertEquals(1, e.getMessage().lines().count(), e::getMessage);
        refused++;
      }
    }
    assertTrue(refused > 2_000, "refused " + refused);
  }

  /** Bytes changed, removed, repeated, or replaced by what JSON is made of. */
  private static byte[] mutate(byte[] good, SplittableRandom random) {
    byte[] bad = good.clone();
    String json = "{}[]\",:\\ 0129.-eE\0\n\u00ff";
    for (int changes = random.nextInt(1, 5); changes > 0 && bad.length > 0; changes--) {
      int at = random.nextInt(bad.length);
      switch (random.nextInt(5)) {
        case 0 -> bad[at] = (byte) random.nextInt(256);
        case 1 -> bad[at] ^= (byte) (1 << random.nextInt(8));
        case 2 -> bad[at] = (byte) json.charAt(random.nextInt(json.length()));
        case 3 -> bad = Arrays.copyOf(bad, at);
        default -> {
          int length = random.nextInt(1, 40);
          byte[] longer = new byte[bad.length + length];
          System.arraycopy(bad, 0, longer, 0, at);
          for (int j = 0; j < length; j++) {
            longer[at + j] = bad[(at + j) % bad.length];
          }
          System.arraycopy(bad, at, longer, at + length, bad.length - at);
          bad = longer;
        }
      }
    }
    return bad;
  }

  private static FormatException assertRefused(Path path, String why) {
    var e = assertThrows(FormatException.class, () -> SafetensorsFile.open(path).close());
    String message = e.getMessage();
    assertTrue(message.contains(why), message);
    assertEquals(1, message.lines().count(), message);
    assertTrue(message.startsWith(path.toString()), message);
    return e;
  }

  private Path write(String header, byte[] data) throws IOException {
    Path path = folder.resolve("model.safetensors");
    byte[] json = header.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
    return Files.write(path, withLength(json, data));
  }

  private static String header(String... tensors) {
    return ("{" + String.join(",", List.of(tensors)) + "}").replace('\'', '"');
  }

  private static byte[] withLength(byte[] header, byte[] data) {
    return ByteBuffer.allocate(8 + header.length + data.length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(header.length)
        .put(header)
        .put(data)
        .array();
  }

  static float[] floats(SafetensorsFile file, String name, int count) throws IOException {
    FloatBuffer floats = FloatBuffer.allocate(count);
    file.floats(name).fill(floats);
    return floats.array();
  }

  /** What the script fills tensors with. */
  static float[] ramp(int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (i - 2) * 0.75f;
    }
    return values;
  }

  static Path golden(String name) {
    try {
      return Path.of(SafetensorsFileTest.class.getResource(name).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }
}
