package dev.sinter.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.Seq2Seq;
import dev.sinter.Seq2Seq.Translation;
import dev.sinter.generate.Beams;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.Device;
import dev.sinter.model.ModelFiles;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Translates texts. */
@Command(
    name = "translate",
    description = "Turns texts into others with an encoder-decoder, by beam search.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Without --beams there are 4, and without a penalty it is the paper's of 0.6.",
      "--json prints a line for each text:",
      "  {\"translations\": [{\"text\": \"…\", \"ids\": […], \"score\": -0.3}, …]}",
      "the best of --count first; text: not with --ids; score: the sum of the tokens'",
      "log-probabilities, divided by the penalty. An empty line stays empty.",
      "",
      "Examples:",
      "  ./sinter translate --model en-de --text 'A man sleeps.'",
      "  ./sinter translate --model en-de --text - --beams 8 --count 3 --json < lines.en",
      "  ./sinter translate --model en-de --ids 5,17,3 --length-penalty 1 --max-length 40"
    })
final class TranslateCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model.")
  private Path model;

  @Mixin private TextOptions texts;

  @Option(
      names = "--count",
      paramLabel = "N",
      defaultValue = "1",
      description = "Translations of each, at most as many as beams (default: ${DEFAULT-VALUE}).")
  private int count;

  @Option(
      names = "--max-length",
      paramLabel = "N",
      description = "Most tokens of a translation (default: 50 more than its source has).")
  private Integer maxLength;

  @Option(names = "--json", description = "Print a line of JSON for each text.")
  private boolean json;

  @Mixin private BeamOptions beams;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    texts.check();
    Beams search = beams.over(Seq2Seq.paperBeams()).withReturned(count);
    Sampling sampling = maxLength == null ? null : Sampling.greedy().withMaxNewTokens(maxLength);
    try (Device where = device.open();
        Seq2Seq translator = open(where)) {
      if (texts.areIds()) {
        for (int[] ids : texts.ids()) {
          print(translator.translate(ids, search, sampling));
        }
        return 0;
      }
      for (String line : texts.lines()) {
        print(
            line.isBlank()
                ? List.of()
                : translator.translate(List.of(line), search, sampling).get(0));
      }
    }
    return 0;
  }

  private Seq2Seq open(Device where) throws IOException {
    return texts.areIds()
        ? Seq2Seq.of(ModelFiles.loadTransformer(model, where, dtype.get()), null)
        : Seq2Seq.load(model, where, dtype.get());
  }

  private void print(List<Translation> translations) {
    PrintWriter out = spec.commandLine().getOut();
    if (json) {
      ObjectNode root = EncoderOptions.object();
      ArrayNode all = root.putArray("translations");
      for (Translation one : translations) {
        ObjectNode node = all.addObject();
        if (!texts.areIds()) {
          node.put("text", one.text());
        }
        ArrayNode ids = node.putArray("ids");
        Arrays.stream(one.ids()).forEach(ids::add);
        node.put("score", one.score());
      }
      out.println(root);
      return;
    }
    if (translations.isEmpty()) {
      out.println();
    }
    for (Translation one : translations) {
      out.println(
          texts.areIds()
              ? Arrays.stream(one.ids())
                  .mapToObj(Integer::toString)
                  .collect(Collectors.joining(","))
              : one.text());
    }
  }
}
