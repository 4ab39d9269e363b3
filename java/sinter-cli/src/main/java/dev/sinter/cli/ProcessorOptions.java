package dev.sinter.cli;

import dev.sinter.generate.Processor;
import dev.sinter.generate.Processors;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import picocli.CommandLine.Option;

/** What else changes the scores of the next token: each option is a processor. */
final class ProcessorOptions {
  @Option(
      names = "--no-repeat-ngram",
      paramLabel = "N",
      description = "No run of N tokens comes twice, prompt included.")
  private Integer noRepeatNgram;

  @Option(
      names = "--encoder-no-repeat-ngram",
      paramLabel = "N",
      description = "No run of N tokens of the prompt comes again.")
  private Integer encoderNoRepeatNgram;

  @Option(
      names = "--encoder-repetition-penalty",
      paramLabel = "X",
      description = "More than 1: makes tokens of the prompt likelier.")
  private Double encoderRepetitionPenalty;

  @Option(
      names = "--min-length",
      paramLabel = "N",
      description = "Fewest tokens of prompt and completion before it may end.")
  private Integer minLength;

  @Option(
      names = "--min-new-tokens",
      paramLabel = "N",
      description = "Fewest tokens of the completion before it may end.")
  private Integer minNewTokens;

  @Option(
      names = "--bad-words",
      paramLabel = "ID,ID…",
      description = "Tokens that never come in this order; may be given several times.")
  private List<String> badWords = new ArrayList<>();

  @Option(
      names = "--sequence-bias",
      paramLabel = "ID,ID…=X",
      description = "Adds X to the score of these tokens' last; may be given several times.")
  private List<String> sequenceBias = new ArrayList<>();

  @Option(
      names = "--suppress",
      paramLabel = "ID",
      split = ",",
      description = "Tokens that never come.")
  private Set<Integer> suppress = new LinkedHashSet<>();

  @Option(
      names = "--begin-suppress",
      paramLabel = "ID",
      split = ",",
      description = "Tokens that do not come first.")
  private Set<Integer> beginSuppress = new LinkedHashSet<>();

  @Option(
      names = "--forced-bos",
      paramLabel = "ID",
      description = "The token behind a prompt of one token.")
  private Integer forcedBegin;

  @Option(
      names = "--forced-eos",
      paramLabel = "ID",
      split = ",",
      description = "One of these comes last, where the completion may not be longer.")
  private Set<Integer> forcedEnd = new LinkedHashSet<>();

  @Option(
      names = "--exponential-decay",
      paramLabel = "START,FACTOR",
      description = "Makes an end likelier by this factor with each token past the start.")
  private String exponentialDecay;

  @Option(names = "--remove-invalid", description = "Goes on where logits are not finite.")
  private boolean removeInvalid;

  @Option(
      names = "--top-h",
      paramLabel = "H",
      description = "Keep the likeliest tokens of this part of the entropy.")
  private Double topH;

  @Option(
      names = "--typical",
      paramLabel = "P",
      description = "Keep the most typical tokens of this mass.")
  private Double typical;

  @Option(
      names = "--epsilon",
      paramLabel = "P",
      description = "Keep tokens that are at least this likely.")
  private Double epsilon;

  @Option(
      names = "--eta",
      paramLabel = "P",
      description = "Keep tokens that are at least this likely, or less where all are unlikely.")
  private Double eta;

  @Option(names = "--renormalize", description = "Scores of beams are probabilities again.")
  private boolean renormalize;

  Processor[] get() {
    List<Processor> all = new ArrayList<>();
    add(all, noRepeatNgram, Processors::noRepeatNgram);
    add(all, encoderNoRepeatNgram, Processors::encoderNoRepeatNgram);
    add(all, encoderRepetitionPenalty, Processors::encoderRepetitionPenalty);
    add(all, minLength, Processors::minLength);
    add(all, minNewTokens, Processors::minNewTokens);
    add(all, forcedBegin, Processors::forcedBegin);
    add(all, exponentialDecay, ProcessorOptions::decay);
    add(all, topH, Processors::topH);
    add(all, typical, Processors::typical);
    add(all, epsilon, Processors::epsilon);
    add(all, eta, Processors::eta);
    if (!badWords.isEmpty()) {
      all.add(Processors.badWords(badWords.stream().map(ProcessorOptions::ids).toList()));
    }
    if (!sequenceBias.isEmpty()) {
      all.add(biases());
    }
    if (!suppress.isEmpty()) {
      all.add(Processors.suppress(suppress));
    }
    if (!beginSuppress.isEmpty()) {
      all.add(Processors.beginSuppress(beginSuppress));
    }
    if (!forcedEnd.isEmpty()) {
      all.add(Processors.forcedEnd(forcedEnd));
    }
    if (removeInvalid) {
      all.add(Processors.removeInvalid());
    }
    if (renormalize) {
      all.add(Processors.renormalize());
    }
    return all.toArray(Processor[]::new);
  }

  private static <T> void add(List<Processor> all, T setting, Function<T, Processor> processor) {
    if (setting != null) {
      all.add(processor.apply(setting));
    }
  }

  private Processor biases() {
    Map<List<Integer>, Float> biases = new LinkedHashMap<>();
    for (String one : sequenceBias) {
      int equals = one.indexOf('=');
      if (equals < 0) {
        throw new IllegalArgumentException("--sequence-bias " + one + "; for example 5,7=-1.5");
      }
      biases.put(ids(one.substring(0, equals)), (float) number(one.substring(equals + 1)));
    }
    return Processors.sequenceBias(biases);
  }

  private static Processor decay(String text) {
    String[] parts = text.split(",", 2);
    if (parts.length < 2) {
      throw new IllegalArgumentException("--exponential-decay " + text + "; for example 20,1.05");
    }
    return Processors.exponentialDecay(ids(parts[0]).get(0), number(parts[1]));
  }

  private static double number(String text) {
    try {
      return Double.parseDouble(text);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException("'" + text + "' is no number", e);
    }
  }

  /** Token ids with commas between them. */
  static List<Integer> ids(String text) {
    try {
      return Arrays.stream(text.split(",")).map(String::strip).map(Integer::valueOf).toList();
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException("'" + text + "' are no token ids; for example 5,7", e);
    }
  }
}
