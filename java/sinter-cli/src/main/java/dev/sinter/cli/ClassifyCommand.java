package dev.sinter.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.Encoder;
import dev.sinter.text.Encoding;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Runs a classifier of any kind: which, the model's folder says. */
@Command(
    name = "classify",
    description =
        "Classifies texts, labels their words, answers questions or chooses, as the model's head"
            + " does.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "config.json names the head, which says what is read and what --json prints:",
      "  sequence  a text, or two with a tab between them, or --text with --pair",
      "            {\"labels\": [{\"id\": 1, \"label\": \"good\", \"score\": 0.9}, …]},",
      "            the likeliest first; score: probability, or a regression's number",
      "  tokens    a text; longer ones than the context are read in windows",
      "            {\"words\": [{\"start\": 0, \"end\": 4, \"text\": \"John\",",
      "            \"label\": \"B-PER\", \"score\": 0.9}, …]}; with --ids a token each,",
      "            by its number, without text",
      "  span      --question and --context, or lines of",
      "            {\"question\": …, \"context\": …}",
      "            {\"start\": 0, \"end\": 4, \"text\": \"John\", \"score\": 7.1,",
      "            \"null_score\": 2.3}; score: sum of two logits; null_score: that of",
      "            no answer, which --or-none allows: start and end are 0 then. With",
      "            --ids, --types tell question from context; the first token and the",
      "            last of each are special",
      "  choice    --text with --choice, or lines of",
      "            {\"prompt\": …, \"choices\": […]}",
      "            {\"choice\": 1, \"probabilities\": [0.2, 0.8]}; all --ids are of one",
      "            question",
      "",
      "Examples:",
      "  ./sinter classify --model sentiment --text 'A fine film.' --json",
      "  ./sinter classify --model ner --file lines.txt",
      "  ./sinter classify --model squad --question 'Who?' --context 'A man sleeps.'",
      "  ./sinter classify --model nli --ids 101,7,102,8,102 --types 0,0,0,1,1"
    })
final class ClassifyCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Mixin private EncoderOptions options;

  @Option(names = "--pair", paramLabel = "TEXT", description = "The second text of a pair.")
  private String pair;

  @Option(
      names = "--types",
      paramLabel = "N,N…",
      description = "With --ids: the segment of each token, 0 or 1; as many as --ids.")
  private List<String> types = new ArrayList<>();

  @Option(names = "--question", paramLabel = "TEXT", description = "What is asked.")
  private String question;

  @Option(names = "--context", paramLabel = "TEXT", description = "Where the answer is.")
  private String context;

  @Option(names = "--or-none", description = "A question may have no answer.")
  private boolean orNone;

  @Option(
      names = "--choice",
      paramLabel = "TEXT",
      description = "A text that could go on from --text; several.")
  private List<String> choices = new ArrayList<>();

  @Override
  public Integer call() throws IOException {
    if ((question == null) != (context == null)) {
      throw new IllegalArgumentException("--question and --context go together");
    }
    if (question != null && options.texts.given()) {
      throw new IllegalArgumentException("--question and --text, --file or --ids; one of them");
    }
    return options.run(
        encoder -> {
          switch (encoder.model().head().task()) {
            case SEQUENCE -> labels(encoder);
            case TOKENS -> words(encoder);
            case SPAN -> answers(encoder);
            case CHOICE -> choices(encoder);
            default ->
                throw new IllegalArgumentException(
                    "the model has no classifier; config.json names a head for "
                        + encoder.model().head().task().toString().toLowerCase(Locale.ROOT));
          }
        });
  }

  private void print(ObjectNode json, String text) {
    PrintWriter out = spec.commandLine().getOut();
    out.println(options.json ? json.toString() : text);
  }

  private Encoding[] ids() {
    return options.texts.encodings(types).toArray(Encoding[]::new);
  }

  private void labels(Encoder encoder) throws IOException {
    List<Encoding> inputs = new ArrayList<>();
    if (options.texts.areIds()) {
      inputs.addAll(List.of(ids()));
    } else {
      for (String line : options.texts.lines()) {
        int tab = line.indexOf('\t');
        String second = pair == null && tab >= 0 ? line.substring(tab + 1) : pair;
        String first = pair == null && tab >= 0 ? line.substring(0, tab) : line;
        inputs.add(second == null ? encoder.encode(first) : encoder.encode(first, second));
      }
    }
    for (List<Encoder.Label> labels : encoder.classify(inputs.toArray(Encoding[]::new))) {
      ObjectNode root = EncoderOptions.object();
      ArrayNode all = root.putArray("labels");
      labels.forEach(
          one ->
              all.addObject()
                  .put("id", one.id())
                  .put("label", one.name())
                  .put("score", one.score()));
      print(
          root,
          labels.stream()
              .map(one -> String.format(Locale.ROOT, "%s %.4f", one.name(), one.score()))
              .collect(Collectors.joining("\t")));
    }
  }

  private void words(Encoder encoder) throws IOException {
    List<List<Encoder.Tag>> texts = new ArrayList<>();
    if (options.texts.areIds()) {
      options.texts.encodings(types).forEach(ids -> texts.add(encoder.tag(ids)));
    } else {
      options.texts.lines().forEach(line -> texts.add(encoder.tag(line)));
    }
    for (List<Encoder.Tag> words : texts) {
      ObjectNode root = EncoderOptions.object();
      ArrayNode all = root.putArray("words");
      StringBuilder lines = new StringBuilder();
      for (Encoder.Tag word : words) {
        ObjectNode node = all.addObject().put("start", word.start()).put("end", word.end());
        if (!options.texts.areIds()) {
          node.put("text", word.text());
        }
        node.put("label", word.label()).put("score", word.score());
        String shown = options.texts.areIds() ? Integer.toString(word.start()) : word.text();
        lines.append(shown).append(' ').append(word.label()).append('\n');
      }
      print(root, lines.toString());
    }
  }

  private void answers(Encoder encoder) throws IOException {
    if (question != null) {
      print(encoder.answer(question, context, orNone), false);
    } else if (options.texts.areIds()) {
      for (Encoding ids : ids()) {
        print(encoder.answer(orNone, withSpecials(ids)), true);
      }
    } else {
      for (JsonNode line : options.texts.objects("question", "context")) {
        print(
            encoder.answer(line.get("question").asText(), line.get("context").asText(), orNone),
            false);
      }
    }
  }

  /** [CLS] question [SEP] context [SEP]: neither is a part of an answer. */
  private static Encoding withSpecials(Encoding ids) {
    int[] sequences = ids.types().clone();
    for (int i = 0; i < sequences.length; i++) {
      boolean last = i == sequences.length - 1 || ids.types()[i + 1] != ids.types()[i];
      if (i == 0 || last) {
        sequences[i] = -1;
      }
    }
    return new Encoding(ids.ids(), ids.types(), ids.starts(), ids.ends(), sequences);
  }

  private void print(Encoder.Answer answer, boolean ids) {
    ObjectNode root = EncoderOptions.object().put("start", answer.start()).put("end", answer.end());
    if (!ids) {
      root.put("text", answer.text());
    }
    print(
        root.put("score", answer.score()).put("null_score", answer.nullScore()),
        ids ? answer.start() + " " + answer.end() : answer.text());
  }

  private void choices(Encoder encoder) throws IOException {
    if (options.texts.areIds()) {
      print(encoder.choose(ids()), List.of());
    } else if (!choices.isEmpty()) {
      for (String line : options.texts.lines()) {
        print(encoder.choose(line, choices), choices);
      }
    } else {
      for (JsonNode line : options.texts.objects("prompt", "choices")) {
        List<String> texts = new ArrayList<>();
        line.get("choices").forEach(choice -> texts.add(choice.asText()));
        print(encoder.choose(line.get("prompt").asText(), texts), texts);
      }
    }
  }

  private void print(double[] shares, List<String> texts) {
    int best = 0;
    ObjectNode root = EncoderOptions.object();
    for (int i = 1; i < shares.length; i++) {
      best = shares[i] > shares[best] ? i : best;
    }
    ArrayNode all = root.put("choice", best).putArray("probabilities");
    for (double share : shares) {
      all.add(share);
    }
    print(root, texts.isEmpty() ? Integer.toString(best) : texts.get(best));
  }
}
