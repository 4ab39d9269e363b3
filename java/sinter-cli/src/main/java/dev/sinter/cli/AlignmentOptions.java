package dev.sinter.cli;

import dev.sinter.align.Chat;
import dev.sinter.io.CsvLog;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import dev.sinter.report.RunRecord;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.OptionalInt;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;

/** What sft, reward, ppo and dpo share: the model they begin with, and where theirs goes. */
final class AlignmentOptions {
  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model to begin with.")
  Path model;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      required = true,
      description = "Where the trained model goes.")
  Path out;

  @Option(
      names = "--seed",
      defaultValue = "1337",
      description = "Of order, new weights and dropout (default: ${DEFAULT-VALUE}).")
  long seed;

  @Mixin DeviceOptions.DtypeOption dtype;

  @Mixin DeviceOptions device;

  /** What a run that has not begun fails with leaves no folder: it is made later. */
  void checkOut() {
    if (Files.exists(out.resolve(ModelFiles.WEIGHTS))
        || Files.exists(out.resolve(PeftFiles.WEIGHTS))) {
      throw new IllegalArgumentException(
          out + ": holds a model already; name another folder, or remove it");
    }
  }

  /** The rate falls to a tenth, as GPT-3.5's first two steps have it. */
  static AdamW adamW(double rate) {
    return AdamW.of(Schedule.cosine(rate, rate / 10));
  }

  /** Writes a language model with its tokenizer and template. */
  void save(LanguageModel trained, GptConfig config, Chat chat) throws IOException {
    ModelFiles.writeConfig(config, OptionalInt.of(chat.endToken()), out);
    chat.save(out);
    ModelFiles.writeWeights(trained, out);
  }

  /** Begins the record of a run: its settings, and the curves that it has logged. */
  RunRecord.Builder record(CommandSpec spec) throws IOException {
    RunRecord.Builder record =
        RunRecord.of(String.valueOf(out.getFileName()), spec.name(), Instant.now());
    for (OptionSpec option : spec.options()) {
      if (option.arity().max() > 0 && option.getValue() != null) {
        Object value = option.getValue();
        record.setting(option.longestName().substring(2), value);
      }
    }
    return record.curves(CsvLog.read(out.resolve("metrics.csv")));
  }
}
