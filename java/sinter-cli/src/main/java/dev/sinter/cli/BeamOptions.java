package dev.sinter.cli;

import dev.sinter.generate.Beams;
import dev.sinter.generate.LengthPenalty;
import java.util.Optional;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** Whether and how beams are searched. */
final class BeamOptions {
  @Option(
      names = "--beams",
      paramLabel = "N",
      defaultValue = "1",
      description = "Beam search, without sampling; --count of its best are shown; 1: none.")
  private int beams;

  @ArgGroup(multiplicity = "0..1")
  private Penalty penalty = new Penalty();

  private static final class Penalty {
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
  }

  @Option(
      names = "--early-stopping",
      paramLabel = "WHEN",
      defaultValue = "FALSE",
      description =
          "When N beams are finished: true: at once; false: when none that goes on is better now;"
              + " never: when none can become better (default: false).")
  private Beams.EarlyStopping earlyStopping;

  Optional<Beams> get(int count) {
    if (beams == 1) {
      return Optional.empty();
    }
    Beams search = Beams.of(beams).withReturned(count).withEarlyStopping(earlyStopping);
    if (penalty.paper != null) {
      return Optional.of(search.withLengthPenalty(LengthPenalty.paper(penalty.paper)));
    }
    double power = penalty.power == null ? 1 : penalty.power;
    return Optional.of(search.withLengthPenalty(LengthPenalty.power(power)));
  }
}
