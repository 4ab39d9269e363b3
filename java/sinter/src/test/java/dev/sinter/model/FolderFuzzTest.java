package dev.sinter.model;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.code_intelligence.jazzer.junit.FuzzTest;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Whatever the bytes of one file are, the folder is a model or one line says why not. A build runs
 * the good files and some hundred mutants of them; with {@code JAZZER_FUZZ=1} a fuzzer goes on from
 * there for ten minutes.
 */
class FolderFuzzTest {
  private static final int MUTANTS = 100;

  private static Device device;

  @TempDir Path temporary;
  private HostileFolder folder;

  @BeforeAll
  static void openDevice() {
    device = Device.cpu();
  }

  @AfterAll
  static void closeDevice() {
    device.close();
  }

  @BeforeEach
  void copyAGoodModel() throws IOException {
    folder = HostileFolder.copyOf("gpt2", Files.createTempDirectory(temporary, "model"));
  }

  static Stream<byte[]> configs() throws IOException {
    Stream<byte[]> all = Stream.empty();
    for (String family :
        new String[] {"gpt2", "gpt1-sequence", "gpt3-3", "bert-tokens", "marian"}) {
      Path good = HostileFolder.good(family).resolve(ModelFiles.CONFIG);
      all = Stream.concat(all, withMutants(Files.readAllBytes(good)));
    }
    return all;
  }

  static Stream<byte[]> weights() throws IOException {
    Path good = HostileFolder.good("gpt2").resolve(ModelFiles.WEIGHTS);
    return withMutants(Files.readAllBytes(good));
  }

  static Stream<byte[]> indexes() throws IOException {
    Path shards = Files.createTempDirectory("shards");
    byte[] index = HostileFolder.copyOf("gpt2", shards).shard().toString().getBytes(UTF_8);
    return withMutants(index);
  }

  @MethodSource("configs")
  @FuzzTest(maxDuration = "10m")
  void anyConfig(byte[] bytes) throws IOException {
    Files.write(folder.config(), bytes);
    assertModelOrOneLine();
  }

  @MethodSource("weights")
  @FuzzTest(maxDuration = "10m")
  void anyWeights(byte[] bytes) throws IOException {
    Files.write(folder.weights(), bytes);
    assertModelOrOneLine();
  }

  @MethodSource("indexes")
  @FuzzTest(maxDuration = "10m")
  void anyIndex(byte[] bytes) throws IOException {
    if (Files.exists(folder.weights())) {
      folder.shard();
    }
    Files.write(folder.index(), bytes);
    assertModelOrOneLine();
  }

  private void assertModelOrOneLine() {
    try {
      ModelFiles.loadAny(folder.path(), device, DType.F32).close();
    } catch (IOException e) {
      HostileFolder.assertOneLine(folder.path(), e.getMessage());
    }
  }

  private static Stream<byte[]> withMutants(byte[] good) {
    SplittableRandom random = new SplittableRandom(good.length);
    return Stream.concat(
        Stream.of(good), Stream.generate(() -> mutant(good, random)).limit(MUTANTS));
  }

  /** Bits and bytes changed, parts removed, repeated or put elsewhere. */
  private static byte[] mutant(byte[] good, SplittableRandom random) {
    String json = "{}[]\",:\\ 0129.-eE\0\n\u00ff";
    byte[] bad = good.clone();
    for (int changes = random.nextInt(1, 4); changes > 0 && bad.length > 1; changes--) {
      // Half of them near the start, where a header is.
      int at = random.nextInt(random.nextBoolean() ? bad.length : Math.min(bad.length, 64));
      int other = random.nextInt(bad.length);
      switch (random.nextInt(5)) {
        case 0 -> bad[at] ^= (byte) (1 << random.nextInt(8));
        case 1 -> bad[at] = (byte) json.charAt(random.nextInt(json.length()));
        case 2 -> bad = Arrays.copyOf(bad, Math.max(1, at));
        case 3 -> bad = concat(Arrays.copyOf(bad, at), Arrays.copyOfRange(bad, other, bad.length));
        default -> {
          int length = Math.min(random.nextInt(1, 40), bad.length - Math.max(at, other));
          System.arraycopy(bad, other, bad, at, length);
        }
      }
    }
    return bad;
  }

  private static byte[] concat(byte[] a, byte[] b) {
    byte[] all = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, all, a.length, b.length);
    return all;
  }
}
