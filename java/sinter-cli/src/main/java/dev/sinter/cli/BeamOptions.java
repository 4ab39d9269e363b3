package dev.sinter.cli;

import dev.sinter.generate.Beams;
import dev.sinter.generate.LengthPenalty;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Whether and how beams are searched. */
final class BeamOptions {
  @Option(
      names = "--beams",
      paramLabel = "N",
      description = "Beam search, without sampling; --count of its best are shown; 1: none.")
  private Integer beams;

  @Option(
      names = "--length-penalty",
      paramLabel = "A",
      description = "Divides beams' scores by length^A (default: 1).")
  private Double power;

  @Option(
      names = "--paper-penalty",
      paramLabel = "A",
      description = "Divides them by ((5 + length) / 6)^A instead.")
  private Double paper;

  @Option(
      names = "--early-stopping",
      paramLabel = "WHEN",
      defaultValue = "FALSE",
      description =
          "When N beams are finished: true: at once; false: when none that goes on is better now;"
              + " never: when none can become better (default: false).")
  private Beams.EarlyStopping earlyStopping;

  /** Those settings, with what the user asks for in their place. */
  Beams over(Beams settings) {
    LengthPenalty divisor = settings.lengthPenalty();
    if (paper != null && power != null) {
      throw new IllegalArgumentException("--length-penalty and --paper-penalty; one of them");
    } else if (paper != null) {
      divisor = LengthPenalty.paper(paper);
    } else if (power != null) {
      divisor = LengthPenalty.power(power);
    }
    int count = beams == null ? settings.count() : beams;
    return new Beams(count, 1, divisor, earlyStopping);
  }

  Optional<Beams> get(int count) {
    Beams search = over(Beams.of(1));
    return search.count() == 1 ? Optional.empty() : Optional.of(search.withReturned(count));
  }
}
