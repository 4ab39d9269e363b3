package dev.sinter.finetune;

import dev.sinter.model.AdapterConfig;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.PeftFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TransformerModel;
import java.io.IOException;
import java.nio.file.Path;

/** An adapter that is laid over a model: a new one, or one from files. */
interface Over {
  TaskModel lay(TaskModel base) throws IOException;

  LanguageModel lay(LanguageModel base) throws IOException;

  LanguageModel lay(FrozenModel base) throws IOException;

  TransformerModel lay(TransformerModel base) throws IOException;

  /** A new one. */
  static Over of(AdapterConfig config, long seed) {
    return new Over() {
      @Override
      public TaskModel lay(TaskModel base) {
        return base.adapted(config, seed);
      }

      @Override
      public LanguageModel lay(LanguageModel base) {
        return base.adapted(config, seed);
      }

      @Override
      public LanguageModel lay(FrozenModel base) {
        return LanguageModel.over(base, config, seed);
      }

      @Override
      public TransformerModel lay(TransformerModel base) {
        return base.adapted(config, seed);
      }
    };
  }

  /** One from a folder in PEFT's layout. */
  static Over files(Path folder) {
    return new Over() {
      @Override
      public TaskModel lay(TaskModel base) throws IOException {
        return PeftFiles.load(folder, base);
      }

      @Override
      public LanguageModel lay(LanguageModel base) throws IOException {
        return PeftFiles.load(folder, base);
      }

      @Override
      public LanguageModel lay(FrozenModel base) throws IOException {
        return PeftFiles.load(folder, base);
      }

      @Override
      public TransformerModel lay(TransformerModel base) throws IOException {
        return PeftFiles.load(folder, base);
      }
    };
  }
}
