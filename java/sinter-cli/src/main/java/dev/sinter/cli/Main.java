package dev.sinter.cli;

import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.List;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** The command {@code sinter}. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
@Command(
    name = "sinter",
    description = "Trains and runs Transformers on the JVM: GPT, BERT, encoder-decoders.",
    mixinStandardHelpOptions = true,
    versionProvider = Version.class,
    synopsisSubcommandLabel = "COMMAND",
    footer = {"", "./sinter COMMAND --help explains a command and gives examples."})
public final class Main {
  private static final List<Class<?>> COMMANDS =
      List.of(
          QuickstartCommand.class,
          TrainCommand.class,
          PretrainCommand.class,
          TrainPairsCommand.class,
          FinetuneCommand.class,
          PredictCommand.class,
          MergeCommand.class,
          SftCommand.class,
          RewardCommand.class,
          PpoCommand.class,
          DpoCommand.class,
          SearchCommand.class,
          GenerateCommand.class,
          ChatCommand.class,
          QuantizeCommand.class,
          TranslateCommand.class,
          FillMaskCommand.class,
          EmbedCommand.class,
          ClassifyCommand.class,
          EvalCommand.class,
          ScoreCommand.class,
          ReportCommand.class,
          InfoCommand.class,
          BenchCommand.class,
          TuneCommand.class);

  @Option(
      names = "--debug",
      description = "Show where an error came from.",
      scope = CommandLine.ScopeType.INHERIT)
  private boolean debug;

  private Main() {}

  /**
   * Runs a command and ends the JVM with its exit code.
   *
   * @param arguments as the user gave them
   */
  public static void main(String[] arguments) {
    System.exit(run(utf8(System.out), utf8(System.err), arguments));
  }

  /** UTF-8 whatever the locale says: what a model writes is not ASCII. */
  static PrintWriter utf8(PrintStream stream) {
    return new PrintWriter(stream, true, StandardCharsets.UTF_8);
  }

  /** Runs a command and returns its exit code. */
  static int run(PrintWriter out, PrintWriter err, String... arguments) {
    Main main = new Main();
    CommandLine line = new CommandLine(main);
    commands(arguments).forEach(line::addSubcommand);
    line.setOut(out);
    line.setErr(err);
    line.setCaseInsensitiveEnumValuesAllowed(true);
    line.setParameterExceptionHandler(
        (e, args) -> {
          err.println("sinter: " + oneLine(e.getMessage()));
          err.println(
              "see ./sinter "
                  + e.getCommandLine()
                      .getCommandSpec()
                      .qualifiedName()
                      .replaceFirst("^sinter ?", "")
                  + " --help");
          return CommandLine.ExitCode.USAGE;
        });
    line.setExecutionExceptionHandler(
        (e, command, result) -> {
          err.println("sinter: " + oneLine(e.getMessage() == null ? e.toString() : e.getMessage()));
          if (main.debug) {
            e.printStackTrace(err);
          }
          return e instanceof IllegalArgumentException
              ? CommandLine.ExitCode.USAGE
              : CommandLine.ExitCode.SOFTWARE;
        });
    if (arguments.length == 0) {
      line.usage(out);
      return CommandLine.ExitCode.USAGE;
    }
    return line.execute(arguments);
  }

  /** The command that is named first, or all: to read one from its annotations takes time. */
  private static List<Class<?>> commands(String... arguments) {
    List<Class<?>> named =
        COMMANDS.stream()
            .filter(
                command ->
                    arguments.length > 0
                        && command.getAnnotation(Command.class).name().equals(arguments[0]))
            .toList();
    return named.isEmpty() ? COMMANDS : named;
  }

  private static String oneLine(String message) {
    return message
        .lines()
        .map(String::strip)
        .filter(text -> !text.isEmpty())
        .reduce((a, b) -> a + " " + b)
        .orElse("");
  }
}
