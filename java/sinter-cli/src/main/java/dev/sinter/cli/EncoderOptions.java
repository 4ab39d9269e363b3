package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.Encoder;
import dev.sinter.graph.Device;
import dev.sinter.model.ModelFiles;
import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** An encoder, what it reads, and how it is shown: what fill-mask, embed and classify share. */
final class EncoderOptions {
  private static final ObjectMapper JSON = new ObjectMapper();

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model.")
  private Path model;

  @Mixin TextOptions texts;

  @Option(names = "--json", description = "Print a line of JSON for each text.")
  boolean json;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  /** What a command does with its encoder. */
  interface Use {
    void of(Encoder encoder) throws IOException;
  }

  int run(Use use) throws IOException {
    texts.check();
    try (Device where = device.open();
        Encoder encoder = open(where)) {
      use.of(encoder);
    }
    return 0;
  }

  private Encoder open(Device where) throws IOException {
    if (!texts.areIds()) {
      return Encoder.load(model, where, dtype.get());
    }
    return Encoder.of(
        ModelFiles.loadTask(model, ModelFiles.readHead(model), where, dtype.get()),
        null,
        ModelFiles.readLabels(model));
  }

  static ObjectNode object() {
    return JSON.createObjectNode();
  }
}
