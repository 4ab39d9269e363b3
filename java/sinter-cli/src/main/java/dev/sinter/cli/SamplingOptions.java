package dev.sinter.cli;

import dev.sinter.generate.Sampling;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import picocli.CommandLine.Option;

/** How a completion is chosen. */
final class SamplingOptions {
  @Option(
      names = "--max-new-tokens",
      paramLabel = "N",
      description = "Most tokens of the completion (default: 256, without --max-length).")
  private Integer maxNewTokens;

  @Option(
      names = "--max-length",
      paramLabel = "N",
      description = "Most tokens of prompt and completion; --max-new-tokens goes first.")
  private Integer maxLength;

  @Option(
      names = "--eos",
      paramLabel = "ID",
      split = ",",
      description = "Tokens that end the completion (default: the tokenizer's end of text).")
  private Set<Integer> endTokens = new LinkedHashSet<>();

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "1",
      description = "Divides the logits; 0: greedy (default: ${DEFAULT-VALUE}).")
  private double temperature;

  @Option(
      names = "--top-k",
      paramLabel = "K",
      defaultValue = "0",
      description = "Keep the K likeliest tokens; 0: all (default: ${DEFAULT-VALUE}).")
  private int topK;

  @Option(
      names = "--top-p",
      paramLabel = "P",
      defaultValue = "1",
      description = "Keep the likeliest tokens of this mass (default: ${DEFAULT-VALUE}).")
  private double topP;

  @Option(
      names = "--min-p",
      paramLabel = "P",
      defaultValue = "0",
      description = "Keep tokens this likely beside the likeliest (default: ${DEFAULT-VALUE}).")
  private double minP;

  @Option(
      names = "--repetition-penalty",
      paramLabel = "X",
      defaultValue = "1",
      description = "Makes tokens seen before less likely; 1: none (default: ${DEFAULT-VALUE}).")
  private double repetitionPenalty;

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "0",
      description = "Equal seeds give equal text (default: ${DEFAULT-VALUE}).")
  private long seed;

  @Option(
      names = "--stop",
      paramLabel = "TEXT",
      description = "Ends the completion; may be given several times.")
  private List<String> stop = new ArrayList<>();

  Sampling get() {
    Sampling sampling =
        Sampling.defaults()
            .withTemperature(temperature)
            .withTopK(topK)
            .withTopP(topP)
            .withMinP(minP)
            .withRepetitionPenalty(repetitionPenalty)
            .withSeed(seed)
            .withEndTokens(endTokens)
            .withStop(stop.toArray(String[]::new));
    if (maxNewTokens != null) {
      return sampling.withMaxNewTokens(maxNewTokens);
    }
    return maxLength == null ? sampling : sampling.withMaxLength(maxLength);
  }
}
