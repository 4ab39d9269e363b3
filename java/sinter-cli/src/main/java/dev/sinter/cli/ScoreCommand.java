package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.evaluate.Scorer;
import dev.sinter.graph.Device;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Scores each token of a text. */
@Command(
    name = "score",
    description = "Gives each token's log-probability, and the five likeliest in its place.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Examples:",
      "  ./sinter score --model model --text 'Hello, world'",
      "  ./sinter score --model model --ids 15496,11,995 --json"
    })
final class ScoreCommand implements Callable<Integer> {
  private static final int TOP = 5;

  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model.")
  private Path model;

  @ArgGroup(multiplicity = "1")
  private Input input;

  private static final class Input {
    @Option(names = "--text", paramLabel = "TEXT", required = true, description = "What to score.")
    private String text;

    @Option(
        names = "--ids",
        paramLabel = "ID",
        split = ",",
        required = true,
        description = "Token ids instead of a text; needs no tokenizer.")
    private int[] ids;
  }

  @Option(names = "--json", description = "Print one JSON object.")
  private boolean json;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    Tokenizer tokenizer = input.text == null ? null : Tokenizer.load(model);
    int[] ids = tokenizer == null ? input.ids : tokenizer.encode(input.text);
    try (Device where = device.open();
        LanguageModel weights = ModelFiles.load(model, where, dtype.get())) {
      List<Scorer.Score> scores = Scorer.score(weights, ids, TOP);
      if (json) {
        printJson(scores, tokenizer);
      } else {
        printTable(scores, tokenizer);
      }
    }
    return 0;
  }

  private void printJson(List<Scorer.Score> scores, Tokenizer tokenizer) throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    ObjectNode root = mapper.createObjectNode();
    ArrayNode tokens = root.putArray("tokens");
    for (Scorer.Score score : scores) {
      ObjectNode token = tokens.addObject().put("id", score.id());
      if (tokenizer != null) {
        token.put("text", tokenizer.decode(score.id()));
      }
      if (Double.isNaN(score.logprob())) {
        token.putNull("logprob");
      } else {
        token.put("logprob", score.logprob());
      }
      ArrayNode top = token.putArray("top");
      score
          .top()
          .forEach(best -> top.addObject().put("id", best.id()).put("logprob", best.logprob()));
    }
    spec.commandLine().getOut().println(mapper.writeValueAsString(root));
  }

  private void printTable(List<Scorer.Score> scores, Tokenizer tokenizer) {
    PrintWriter out = spec.commandLine().getOut();
    for (Scorer.Score score : scores) {
      out.printf(
          Locale.ROOT,
          "%7d %-16s %9s ",
          score.id(),
          shown(score.id(), tokenizer),
          Double.isNaN(score.logprob())
              ? "-"
              : String.format(Locale.ROOT, "%.4f", score.logprob()));
      for (Scorer.Candidate best : score.top()) {
        out.printf(Locale.ROOT, "  %s %.2f", shown(best.id(), tokenizer), best.logprob());
      }
      out.println();
    }
  }

  private static String shown(int id, Tokenizer tokenizer) {
    return tokenizer == null
        ? Integer.toString(id)
        : "'" + tokenizer.decode(id).replace("\n", "\\n").replace("\t", "\\t") + "'";
  }
}
