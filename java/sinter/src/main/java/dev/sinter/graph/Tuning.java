package dev.sinter.graph;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.AtomicFiles;
import dev.sinter.natives.global.sinter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The fastest plan of each matrix product that a {@link Tuner} has measured on a GPU. A device
 * reads its tuning when it is opened, from a file that only a tuner writes, and keeps to it: the
 * same device with the same file gives the same bits. A product that is not in it runs as the
 * device's cost model chooses. Plans take sums in orders of their own: what a tuning does to a
 * batch of one size it may not do to another, so that a sequence need not have the bits in a batch
 * that it has alone.
 *
 * <p>The file is {@code DEVICE.json} in the folder that the system property {@code
 * dev.sinter.tuning} or else the environment variable {@code SINTER_TUNING} names, or else in
 * {@code .sinter/tuning} of the user's home. One of another device, driver, cuBLASLt or release, or
 * one that is damaged, is not used, which the log says in one line. Immutable.
 */
public final class Tuning {
  /** The system property that names the folder of all tunings. */
  public static final String FOLDER = "dev.sinter.tuning";

  /** Of a device without one. */
  static final Tuning NONE = new Tuning(Map.of());

  private static final Logger LOG = LoggerFactory.getLogger(Tuning.class);
  private static final long MOST_BYTES = 16 << 20;
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

  private final Map<String, Long> plans;

  private Tuning(Map<String, Long> plans) {
    this.plans = plans;
  }

  /**
   * Counts the products.
   *
   * @return how many it has a plan for
   */
  public int size() {
    return plans.size();
  }

  /** What {@code sn_gemm_shape.plan} shall be; 0 where the product was not measured. */
  long plan(Gemm product) {
    return plans.getOrDefault(product.toString(), 0L);
  }

  /** This one and what was measured since. */
  Tuning with(Map<Gemm, Long> measured) {
    Map<String, Long> all = new TreeMap<>(plans);
    measured.forEach((product, plan) -> all.put(product.toString(), plan));
    return new Tuning(all);
  }

  /**
   * Names the file that a device's tuning is kept in.
   *
   * @param device a GPU
   * @return the file, which need not exist
   */
  public static Path file(Device device) {
    String name = device.name().toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]+", "-");
    return folder().resolve(name + ".json");
  }

  private static Path folder() {
    String folder = System.getProperty(FOLDER, System.getenv("SINTER_TUNING"));
    return folder == null || folder.isBlank()
        ? Path.of(System.getProperty("user.home"), ".sinter", "tuning")
        : Path.of(folder);
  }

  /** The tuning of a GPU that was opened just now; none where there is no file that fits. */
  static Tuning read(Device device) {
    Path file = file(device);
    if (!Files.exists(file)) {
      return NONE;
    }
    try {
      return parse(Files.size(file) > MOST_BYTES ? null : Files.readAllBytes(file), device);
    } catch (JsonProcessingException e) {
      LOG.warn("{} is not used: it is damaged; ./sinter tune makes it anew", file);
    } catch (IOException e) {
      LOG.warn("{} is not used: {}; ./sinter tune makes it anew", file, e.getMessage());
    }
    return NONE;
  }

  private static Tuning parse(byte[] bytes, Device device) throws IOException {
    JsonNode root = bytes == null ? null : JSON.readTree(bytes);
    if (root == null || !root.path("plans").isObject() || !root.path("machine").isObject()) {
      throw new IOException("it is damaged");
    }
    ObjectNode machine = machine(device);
    if (!root.get("machine").equals(machine)) {
      throw new IOException("it is of " + root.get("machine") + " and this is " + machine);
    }
    Map<String, Long> plans = new TreeMap<>();
    for (Map.Entry<String, JsonNode> plan : root.get("plans").properties()) {
      if (!plan.getValue().isIntegralNumber() || !plan.getValue().canConvertToLong()) {
        throw new IOException("it is damaged");
      }
      plans.put(plan.getKey(), plan.getValue().longValue());
    }
    return new Tuning(plans);
  }

  void write(Device device) throws IOException {
    ObjectNode root = JSON.createObjectNode();
    root.set("machine", machine(device));
    plans.forEach(root.putObject("plans")::put);
    AtomicFiles.write(file(device), JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(root));
  }

  /** All that a plan's meaning and speed depend on. */
  private static ObjectNode machine(Device device) {
    ObjectNode machine = JSON.createObjectNode();
    machine.put("device", device.name());
    machine.put("isa", device.isa());
    machine.put("multiprocessors", device.threads());
    machine.put("driver", device.telemetry().map(Telemetry::driver).orElse(""));
    machine.put("cublasLt", CudaBackend.cublasLt(device));
    machine.put("sinter", sinter.SN_VERSION);
    return machine;
  }
}
