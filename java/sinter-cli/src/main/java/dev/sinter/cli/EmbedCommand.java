package dev.sinter.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.Encoder;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.util.List;
import java.util.StringJoiner;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Turns texts into vectors. */
@Command(
    name = "embed",
    description = "Turns texts into vectors: the mean of their tokens' last hidden states.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Prints a line of numbers for each text; with --json {\"vector\": […]}. What is longer",
      "than the model's context is cut off.",
      "",
      "Examples:",
      "  ./sinter embed --model bert --text 'A man sleeps.' --normalize",
      "  ./sinter embed --model bert --file lines.txt --pooling first --json",
      "  ./sinter embed --model bert --ids 101,1037,2158,102"
    })
final class EmbedCommand implements Callable<Integer> {
  /** Texts that are read before their vectors are printed. */
  private static final int CHUNK = 256;

  @Spec private CommandSpec spec;

  @Mixin private EncoderOptions options;

  @Option(
      names = "--pooling",
      paramLabel = "WHAT",
      defaultValue = "MEAN",
      description = "mean of all tokens, or the first token's, [CLS] (default: mean).")
  private Encoder.Pooling pooling;

  @Option(names = "--normalize", description = "Make vectors of length 1.")
  private boolean normalize;

  @Override
  public Integer call() throws IOException {
    return options.run(
        encoder -> {
          if (options.texts.areIds()) {
            List<Encoding> ids = options.texts.encodings(List.of());
            print(encoder.embed(pooling, normalize, ids.toArray(Encoding[]::new)));
            return;
          }
          List<String> lines = options.texts.lines();
          for (int i = 0; i < lines.size(); i += CHUNK) {
            List<String> chunk = lines.subList(i, Math.min(lines.size(), i + CHUNK));
            print(encoder.embed(chunk, pooling, normalize));
          }
        });
  }

  private void print(float[][] vectors) {
    for (float[] vector : vectors) {
      if (options.json) {
        ObjectNode root = EncoderOptions.object();
        ArrayNode numbers = root.putArray("vector");
        for (float x : vector) {
          numbers.add(x);
        }
        spec.commandLine().getOut().println(root);
      } else {
        StringJoiner numbers = new StringJoiner(" ");
        for (float x : vector) {
          numbers.add(Float.toString(x));
        }
        spec.commandLine().getOut().println(numbers);
      }
    }
  }
}
