package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.util.RawValue;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import dev.sinter.io.TensorInfo;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;

/** A copy of a good model's folder, to be broken. */
final class HostileFolder {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path path;

  private HostileFolder(Path path) {
    this.path = path;
  }

  /** A good model's files: one of those that FamiliesGoldenTest reads. */
  static Path good(String family) {
    try {
      return Path.of(HostileFolder.class.getResource("families/" + family).toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  /** A folder that may be broken as it is. */
  static HostileFolder of(Path path) {
    return new HostileFolder(path);
  }

  static HostileFolder copyOf(String family, Path to) throws IOException {
    HostileFolder folder = new HostileFolder(to);
    Files.copy(good(family).resolve(ModelFiles.CONFIG), folder.config());
    Files.copy(good(family).resolve(ModelFiles.WEIGHTS), folder.weights());
    return folder;
  }

  /** What every message of a refusal keeps to. */
  static void assertOneLine(Path folder, String message) {
    assertTrue(message.startsWith(folder.toString()), message);
    String said = message.substring(folder.toString().length());
    assertTrue(said.length() < 500, message);
    assertTrue(said.chars().noneMatch(Character::isISOControl), message);
  }

  boolean isMarian() throws IOException {
    return JSON.readTree(config().toFile()).get("model_type").asText().equals("marian");
  }

  Path path() {
    return path;
  }

  Path config() {
    return path.resolve(ModelFiles.CONFIG);
  }

  Path weights() {
    return path.resolve(ModelFiles.WEIGHTS);
  }

  Path index() {
    return path.resolve(SafetensorsFile.INDEX_NAME);
  }

  /** Replaces config.json. */
  void writeConfig(String text) throws IOException {
    Files.writeString(config(), text);
  }

  /** Gives a setting a value, which is written as it is. */
  void set(String name, String value) throws IOException {
    ObjectNode json = (ObjectNode) JSON.readTree(config().toFile());
    json.putRawValue(name, new RawValue(value));
    Files.write(config(), JSON.writeValueAsBytes(json));
  }

  void remove(String name) throws IOException {
    ObjectNode json = (ObjectNode) JSON.readTree(config().toFile());
    json.remove(name);
    Files.write(config(), JSON.writeValueAsBytes(json));
  }

  /** Changes the text of the weights' header; the data stays. */
  void header(UnaryOperator<String> change) throws IOException {
    ByteBuffer bytes =
        ByteBuffer.wrap(Files.readAllBytes(weights())).order(ByteOrder.LITTLE_ENDIAN);
    byte[] json = new byte[(int) bytes.getLong()];
    bytes.get(json);
    String text = new String(json, StandardCharsets.UTF_8);
    String changed = change.apply(text);
    if (changed.equals(text)) {
      throw new AssertionError("nothing changed in " + text);
    }
    byte[] other = changed.getBytes(StandardCharsets.UTF_8);
    ByteBuffer all =
        ByteBuffer.allocate(Long.BYTES + other.length + bytes.remaining())
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(other.length)
            .put(other)
            .put(bytes);
    Files.write(weights(), all.array());
  }

  /** Says another length of the header. */
  void headerLength(long length) throws IOException {
    try (FileChannel channel = FileChannel.open(weights(), StandardOpenOption.WRITE)) {
      channel.write(
          ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(length).flip(), 0);
    }
  }

  /** A tensor and its bytes. */
  record Tensor(TensorInfo info, byte[] bytes) {
    /** The same type, zeros of another shape. */
    Tensor shaped(long... shape) {
      TensorInfo other = new TensorInfo(info.name(), info.dtype(), shape);
      return new Tensor(other, new byte[(int) other.bytes()]);
    }

    /** The same shape, zeros of another type. */
    Tensor typed(TensorInfo.Dtype dtype) {
      TensorInfo other = new TensorInfo(info.name(), dtype, info.shape());
      return new Tensor(other, new byte[(int) other.bytes()]);
    }
  }

  /** The weights by name. */
  Map<String, Tensor> tensors() throws IOException {
    Map<String, Tensor> tensors = new TreeMap<>();
    try (SafetensorsFile file = SafetensorsFile.open(weights())) {
      for (String name : file.names()) {
        ByteBuffer bytes = ByteBuffer.allocate((int) file.info(name).bytes());
        file.read(name, 0, bytes);
        tensors.put(name, new Tensor(file.info(name), bytes.array()));
      }
    }
    return tensors;
  }

  /** The name of the tensor that ends so. */
  String named(String end) throws IOException {
    return tensors().keySet().stream().filter(name -> name.endsWith(end)).findFirst().orElseThrow();
  }

  /** Writes tensors, under the names that they are mapped from. */
  static void write(Path file, Map<String, Tensor> tensors) throws IOException {
    SafetensorsWriter writer = new SafetensorsWriter();
    tensors.forEach(
        (name, tensor) ->
            writer.add(
                new TensorInfo(name, tensor.info().dtype(), tensor.info().shape()),
                out -> out.write(ByteBuffer.wrap(tensor.bytes()))));
    writer.write(file);
  }

  /** A change of the tensors. */
  @FunctionalInterface
  interface Change {
    void to(Map<String, Tensor> tensors);
  }

  void tensors(Change change) throws IOException {
    Map<String, Tensor> tensors = tensors();
    change.to(tensors);
    write(weights(), tensors);
  }

  /** Splits the weights into a.safetensors and b.safetensors; returns their index. */
  ObjectNode shard() throws IOException {
    Map<String, Tensor> all = tensors();
    ObjectNode index = JSON.createObjectNode();
    ObjectNode map = index.putObject("weight_map");
    List<String> names = new ArrayList<>(all.keySet());
    for (String shard : List.of("a", "b")) {
      Map<String, Tensor> part = new TreeMap<>(all);
      int half = names.size() / 2;
      part.keySet()
          .retainAll(
              shard.equals("a") ? names.subList(0, half) : names.subList(half, names.size()));
      part.keySet().forEach(name -> map.put(name, shard + ".safetensors"));
      write(path.resolve(shard + ".safetensors"), part);
    }
    Files.delete(weights());
    writeIndex(index.toString());
    return index;
  }

  void writeIndex(String text) throws IOException {
    Files.writeString(index(), text);
  }

  /** A file of that size that takes no room on the disk. */
  static void writeSparse(Path file, String begin, long size) throws IOException {
    Files.deleteIfExists(file);
    try (FileChannel channel =
        FileChannel.open(
            file,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.WRITE)) {
      channel.write(StandardCharsets.ISO_8859_1.encode(begin));
      channel.write(ByteBuffer.wrap(new byte[] {' '}), size - 1);
    }
  }
}
