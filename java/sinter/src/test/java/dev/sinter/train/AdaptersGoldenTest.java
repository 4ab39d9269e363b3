package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Recompute;
import dev.sinter.io.SafetensorsFile;
import dev.sinter.io.SafetensorsWriter;
import dev.sinter.io.TensorInfo;
import dev.sinter.model.AdaLoraConfig;
import dev.sinter.model.EvaluationGraph;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.Model;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TrainingGraph;
import dev.sinter.model.TransformerGraph;
import dev.sinter.model.TransformerModel;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What tests/goldens/adapters.py computed with PEFT in double precision. */
class AdaptersGoldenTest {
  private static final int BATCH = 4;
  private static final int LENGTH = 11;
  private static final int TARGETS = 9;
  private static final ObjectMapper JSON = new ObjectMapper();

  private static Path folder(String name) {
    try {
      return Path.of(AdaptersGoldenTest.class.getResource("/dev/sinter/model/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  private static JsonNode json(String name) throws IOException {
    return JSON.readTree(folder("adapters/" + name + "/golden.json").toFile());
  }

  private static SafetensorsFile golden(String name) throws IOException {
    return SafetensorsFile.open(folder("adapters/" + name).resolve("golden.safetensors"));
  }

  private static int[] ints(SafetensorsFile file, String name) throws IOException {
    int count = Math.toIntExact(file.info(name).elements());
    ByteBuffer bytes = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN);
    file.read(name, 0, bytes);
    int[] values = new int[count];
    bytes.flip().asIntBuffer().get(values);
    return values;
  }

  private static float[] floats(SafetensorsFile file, String name) throws IOException {
    float[] values = new float[Math.toIntExact(file.info(name).elements())];
    file.floats(name).fill(FloatBuffer.wrap(values));
    return values;
  }

  private static Model base(String name, Device device) throws IOException {
    return ModelFiles.loadAny(
        folder("families/" + json(name).get("base").asText()), device, DType.F32);
  }

  private static Model adapted(Path adapter, Model base) throws IOException {
    if (base instanceof LanguageModel model) {
      return PeftFiles.load(adapter, model);
    }
    return base instanceof TaskModel model
        ? PeftFiles.load(adapter, model)
        : PeftFiles.load(adapter, (TransformerModel) base);
  }

  /** A graph that trains on a golden batch. */
  private record Training(Runnable closing, TrainingLoop.Pass pass) implements AutoCloseable {
    @Override
    public void close() {
      closing.run();
    }
  }

  private static Training training(Model any, SafetensorsFile golden) throws IOException {
    int[] tokens = ints(golden, "tokens");
    if (any instanceof LanguageModel model) {
      TrainingGraph graph = model.trainingGraph(BATCH, LENGTH - 1, 1, Recompute.NONE, 1);
      for (int i = 0; i < BATCH; i++) {
        graph.tokens().put(i * (LENGTH - 1), tokens, i * LENGTH, LENGTH - 1);
        graph.targets().put(i * (LENGTH - 1), tokens, i * LENGTH + 1, LENGTH - 1);
      }
      return new Training(graph::close, graph::run);
    }
    if (any instanceof TaskModel model) {
      TaskGraph graph = model.trainingGraph(BATCH, LENGTH, 0, 1, Recompute.NONE, 1);
      fill(graph, golden);
      return new Training(graph::close, graph::run);
    }
    TransformerGraph graph =
        ((TransformerModel) any).trainingGraph(BATCH, LENGTH, TARGETS, 0, 1, Recompute.NONE, 1);
    fill(graph, golden);
    return new Training(graph::close, graph::run);
  }

  private static void fill(TaskGraph graph, SafetensorsFile golden) throws IOException {
    graph.tokens().put(0, ints(golden, "tokens"));
    graph.segments().put(0, ints(golden, "segments"));
    graph.lengths().put(0, ints(golden, "lengths"));
    graph.targets().put(0, ints(golden, "targets"));
  }

  private static void fill(TransformerGraph graph, SafetensorsFile golden) throws IOException {
    graph.sources().put(0, ints(golden, "tokens"));
    graph.sourceLengths().put(0, ints(golden, "lengths"));
    graph.targets().put(0, ints(golden, "targets"));
  }

  private static float[] outputs(Model any, SafetensorsFile golden) throws IOException {
    if (any instanceof LanguageModel model) {
      try (EvaluationGraph graph = model.logitsGraph(BATCH, LENGTH)) {
        graph.tokens().put(0, ints(golden, "tokens"));
        return copy(graph.run());
      }
    }
    if (any instanceof TaskModel model) {
      try (TaskGraph graph = model.graph(BATCH, LENGTH, 0)) {
        fill(graph, golden);
        graph.run(0, false);
        return copy(graph.outputs());
      }
    }
    try (TransformerGraph graph = ((TransformerModel) any).graph(BATCH, LENGTH, TARGETS)) {
      fill(graph, golden);
      graph.run(0, false);
      return copy(graph.logits());
    }
  }

  private static float[] copy(FloatBuffer buffer) {
    float[] values = new float[buffer.capacity()];
    buffer.get(0, values);
    return values;
  }

  private static double clip(String name) {
    return switch (name) {
      case "rslora-gpt2" -> 0.5;
      case "adalora-bert" -> 1;
      default -> 0;
    };
  }

  /** The loss of each step. */
  private static List<Double> train(String name, Model model, SafetensorsFile golden)
      throws Exception {
    int steps = json(name).get("losses").size();
    AdamW optimizer =
        AdamW.of(Schedule.constant(1e-2))
            .withBetas(0.9, 0.999)
            .withWeightDecay(0)
            .withClip(clip(name));
    List<Double> losses = new ArrayList<>();
    try (Training training = training(model, golden)) {
      TrainingLoop loop = new TrainingLoop(model, optimizer, steps, 1);
      while (loop.goesOn()) {
        losses.add(loop.step(training.pass(), 1).loss());
      }
    }
    return losses;
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "lora-gpt2",
        "lora-bert",
        "rslora-gpt2",
        "lora-marian",
        "adalora-bert",
        "adalora-gpt2",
        "bottleneck-bert"
      })
  void trainsAsTheReference(String name, @TempDir Path saved) throws Exception {
    try (SafetensorsFile golden = golden(name);
        Device device = Device.cpu();
        Model base = base(name, device);
        Model model = adapted(folder("adapters/" + name + "/initial"), base)) {
      List<Double> losses = train(name, model, golden);
      JsonNode expected = json(name).get("losses");
      for (int i = 0; i < losses.size(); i++) {
        assertEquals(expected.get(i).asDouble(), losses.get(i), 1e-4, "step " + (i + 1));
      }
      assertOutputs(golden, model, 1e-3f);
      if (model.adapter().config() instanceof AdaLoraConfig config) {
        Map<String, List<Boolean>> kept = new LinkedHashMap<>();
        json(name)
            .get("kept")
            .fields()
            .forEachRemaining(
                module -> {
                  List<Boolean> triplets = new ArrayList<>();
                  module.getValue().forEach(each -> triplets.add(each.asBoolean()));
                  kept.put(module.getKey(), triplets);
                });
        assertEquals(kept, config.kept());
      }
      // What is written has PEFT's names, shapes and settings, and nearly its numbers.
      PeftFiles.save(model, saved);
      assertFilesAreThoseOf(folder("adapters/" + name + "/final"), saved);
      try (Model again = adapted(saved, base)) {
        assertArrayEquals(outputs(model, golden), outputs(again, golden), 1e-6f);
      }
    }
  }

  private static void assertOutputs(SafetensorsFile golden, Model model, float most)
      throws IOException {
    assertArrayEquals(floats(golden, "outputs"), outputs(model, golden), most);
  }

  private static void assertFilesAreThoseOf(Path reference, Path ours) throws IOException {
    JsonNode expected = JSON.readTree(reference.resolve(PeftFiles.CONFIG).toFile());
    JsonNode actual = JSON.readTree(ours.resolve(PeftFiles.CONFIG).toFile());
    for (Map.Entry<String, JsonNode> setting : actual.properties()) {
      String name = setting.getKey();
      JsonNode theirs = expected.path(name);
      switch (name) {
        // A set's order is by chance, and PEFT names heads that the model does not have.
        case "target_modules" -> assertEquals(texts(theirs), texts(setting.getValue()), name);
        case "modules_to_save" -> assertTrue(texts(theirs).containsAll(texts(setting.getValue())));
        // The reference for this has none: PEFT's class of the task needs another transformers.
        case "task_type" ->
            assertTrue(theirs.isNull() || theirs.equals(setting.getValue()), theirs.toString());
        default -> assertEquals(theirs.asText(), setting.getValue().asText(), name);
      }
    }
    try (SafetensorsFile theirs = SafetensorsFile.open(reference.resolve(PeftFiles.WEIGHTS));
        SafetensorsFile written = SafetensorsFile.open(ours.resolve(PeftFiles.WEIGHTS))) {
      assertEquals(new TreeSet<>(theirs.names()), new TreeSet<>(written.names()));
      for (String name : theirs.names()) {
        assertArrayEquals(theirs.info(name).shape(), written.info(name).shape(), name);
        assertArrayEquals(floats(theirs, name), floats(written, name), 2e-3f, name);
      }
    }
  }

  private static Set<String> texts(JsonNode node) {
    Set<String> all = new TreeSet<>();
    node.forEach(each -> all.add(each.asText()));
    if (node.isTextual()) {
      all.add(node.asText());
    }
    return all;
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "lora-gpt2",
        "lora-bert",
        "rslora-gpt2",
        "lora-marian",
        "adalora-bert",
        "adalora-gpt2",
        "bottleneck-bert"
      })
  void opensWhatTheReferenceSaved(String name) throws IOException {
    try (SafetensorsFile golden = golden(name);
        Device device = Device.cpu();
        Model base = base(name, device);
        Model model = adapted(folder("adapters/" + name + "/final"), base)) {
      assertOutputs(golden, model, 2e-5f);
    }
  }

  /**
   * Trains and saves adapters, with what they then compute, for {@code adapters.py --open FOLDER}:
   * to see that PEFT opens them.
   *
   * @param arguments the folder, which exists
   */
  public static void main(String[] arguments) throws Exception {
    for (String name :
        List.of(
            "lora-gpt2",
            "lora-bert",
            "rslora-gpt2",
            "lora-marian",
            "adalora-bert",
            "adalora-gpt2")) {
      Path folder = Files.createDirectories(Path.of(arguments[0], name));
      try (SafetensorsFile golden = golden(name);
          Device device = Device.cpu();
          Model base = base(name, device);
          Model model = adapted(folder("adapters/" + name + "/initial"), base)) {
        train(name, model, golden);
        PeftFiles.save(model, folder);
        float[] outputs = outputs(model, golden);
        SafetensorsWriter writer = new SafetensorsWriter();
        writer.add(
            "outputs", new long[] {outputs.length}, sink -> sink.accept(FloatBuffer.wrap(outputs)));
        for (String input : golden.names()) {
          TensorInfo info = golden.info(input);
          if (info.dtype() == TensorInfo.Dtype.I32) {
            IntBuffer values = IntBuffer.wrap(ints(golden, input));
            ByteBuffer bytes =
                ByteBuffer.allocate(4 * values.remaining()).order(ByteOrder.LITTLE_ENDIAN);
            bytes.asIntBuffer().put(values);
            writer.add(info, out -> out.write(bytes.duplicate()));
          }
        }
        writer.write(folder.resolve("golden.safetensors"));
        ObjectNode note = JSON.createObjectNode();
        note.put("base", json(name).get("base").asText());
        JSON.writeValue(folder.resolve("golden.json").toFile(), note);
      }
    }
  }
}
