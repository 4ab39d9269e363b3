package dev.sinter.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.Encoder;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Tells the words behind masks. */
@Command(
    name = "fill-mask",
    description = "Tells the likeliest words behind the masks of a text, with a BERT.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "--json prints a line for each text:",
      "  {\"masks\": [{\"start\": 13, \"end\": 19,",
      "    \"top\": [{\"id\": 3007, \"token\": \"capital\", \"probability\": 0.98}, …]}, …]}",
      "start, end: where the mask is written; with --ids its number among the tokens,",
      "and no token.",
      "",
      "Examples:",
      "  ./sinter fill-mask --model bert --text 'Paris is the [MASK] of France.' --top 3",
      "  ./sinter fill-mask --model bert --file lines.txt --json",
      "  ./sinter fill-mask --model bert --ids 101,3000,2003,103,102 --mask 103"
    })
final class FillMaskCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Mixin private EncoderOptions options;

  @Option(
      names = "--top",
      paramLabel = "N",
      defaultValue = "5",
      description = "Words of each mask (default: ${DEFAULT-VALUE}).")
  private int top;

  @Option(
      names = "--mask",
      paramLabel = "ID",
      description = "With --ids: the token that stands for a masked one.")
  private Integer mask;

  @Override
  public Integer call() throws IOException {
    if (options.texts.areIds() != (mask != null)) {
      throw new IllegalArgumentException("--ids and --mask go together");
    }
    return options.run(
        encoder -> {
          if (mask != null) {
            for (Encoding ids : options.texts.encodings(List.of())) {
              print(encoder.fillMask(ids, mask, top));
            }
          } else {
            for (String text : options.texts.lines()) {
              print(encoder.fillMask(text, top));
            }
          }
        });
  }

  private void print(List<Encoder.Mask> masks) {
    PrintWriter out = spec.commandLine().getOut();
    if (options.json) {
      out.println(json(masks));
      return;
    }
    for (Encoder.Mask one : masks) {
      for (Encoder.Candidate word : one.top()) {
        String shown = mask == null ? word.token() : Integer.toString(word.id());
        out.printf(Locale.ROOT, "%d\t%s\t%.4f%n", one.start(), shown, word.probability());
      }
    }
  }

  private ObjectNode json(List<Encoder.Mask> masks) {
    ObjectNode root = EncoderOptions.object();
    ArrayNode all = root.putArray("masks");
    for (Encoder.Mask one : masks) {
      ObjectNode node = all.addObject().put("start", one.start()).put("end", one.end());
      ArrayNode words = node.putArray("top");
      for (Encoder.Candidate word : one.top()) {
        ObjectNode candidate = words.addObject().put("id", word.id());
        if (mask == null) {
          candidate.put("token", word.token());
        }
        candidate.put("probability", word.probability());
      }
    }
    return root;
  }
}
