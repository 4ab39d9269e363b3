package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.data.TextFiles;
import dev.sinter.finetune.Prediction;
import dev.sinter.finetune.Predictor;
import dev.sinter.finetune.Sample;
import dev.sinter.graph.Device;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Runs a tuned model on data. */
@Command(
    name = "predict",
    description =
        "Runs a tuned model on your data. What it does, task.json says, or the head that"
            + " config.json names.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "Input: a file as finetune reads it, without what is right; or, in .txt or on standard",
      "input, a text a line, a tab between several, or a JSON object a line. Prints a line of",
      "JSON for each:",
      "  classify    {\"label\": \"good\", \"score\": 0.9, \"probabilities\": {…}}, or",
      "              {\"labels\": […], \"probabilities\": {…}}",
      "  tag         {\"tokens\": […], \"tags\": […], \"scores\": […], \"entities\": […]}",
      "  qa          {\"id\": …, \"answer\": …, \"start\": 0, \"end\": 4, \"score\": 0.9,",
      "              \"n_best\": […]}; an empty answer: there is none",
      "  choice      {\"choice\": 1, \"text\": …, \"probabilities\": […]}",
      "  similarity, rank  {\"score\": 0.9}",
      "  retrieve    {\"text\": …, \"vector\": […]}, of length 1",
      "  lm          {\"loss\": 2.1, \"perplexity\": 8.2, \"tokens\": 40}",
      "  translate   {\"translation\": …}",
      "",
      "Examples:",
      "  ./sinter predict --model sentiment --input reviews.csv",
      "  echo 'Anna lives in Berlin.' | ./sinter predict --model ner --input - --text"
    })
final class PredictCommand implements Callable<Integer> {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Predicted and printed together. */
  private static final int AT_ONCE = 256;

  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "The tuned model's folder.")
  private Path model;

  @Option(
      names = "--base",
      paramLabel = "DIR",
      description =
          "The model under an adapter (default: where it was when the adapter was trained).")
  private Path base;

  @Option(
      names = "--input",
      paramLabel = "FILE",
      required = true,
      description = "What is read; -: standard input.")
  private Path input;

  @Option(
      names = "--text",
      description = "Print labels, tags, answers or numbers alone, a line for each input.")
  private boolean text;

  @Mixin private DeviceOptions.DtypeOption dtype;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    try (Device where = device.open();
        Predictor predictor = Predictor.load(model, base, where, dtype.get())) {
      List<Sample> samples = samples(predictor);
      for (int from = 0; from < samples.size(); from += AT_ONCE) {
        int to = Math.min(samples.size(), from + AT_ONCE);
        for (Prediction prediction : predictor.predict(samples.subList(from, to))) {
          out.println(
              text ? shown(predictor, prediction) : JSON.writeValueAsString(prediction.fields()));
        }
      }
    }
    return 0;
  }

  private static String shown(Predictor predictor, Prediction prediction) {
    if (prediction.values().isEmpty()) {
      return prediction.scores().toString();
    }
    boolean all = List.of("classify", "tag").contains(predictor.task().name());
    return all ? String.join(" ", prediction.values()) : prediction.values().get(0);
  }

  private List<Sample> samples(Predictor predictor) throws IOException {
    if (input.toString().equals("-")) {
      Path name = Path.of("standard input");
      byte[] bytes = System.in.readAllBytes();
      try {
        String lines =
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        return predictor.task().readLines(name, lines);
      } catch (CharacterCodingException e) {
        throw new FormatException(name, "is no UTF-8", e);
      }
    }
    return input.toString().toLowerCase(Locale.ROOT).endsWith(".txt")
        ? predictor.task().readLines(input, TextFiles.read(List.of(input)))
        : predictor.task().read(input, false);
  }
}
