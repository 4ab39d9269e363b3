package dev.sinter.cli;

import dev.sinter.align.Chat;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.AdapterConfig;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.PeftFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.OptionalInt;

/** The language model that a training begins with: as it is in its folder, or under an adapter. */
final class StartingModel implements AutoCloseable {
  private final LanguageModel model;

  /** What the adapter lies over, plain or packed; both null: there is none. */
  private final LanguageModel base;

  private final FrozenModel packed;

  private StartingModel(LanguageModel model, LanguageModel base, FrozenModel packed) {
    this.model = model;
    this.base = base;
    this.packed = packed;
  }

  static StartingModel whole(Path folder, Device device, DType dtype) throws IOException {
    return new StartingModel(ModelFiles.load(folder, device, dtype), null, null);
  }

  /**
   * @param format how the weights under the adapter are held; null: plain, in {@code dtype}
   */
  static StartingModel adapted(
      Path folder,
      AdapterConfig adapter,
      long seed,
      WeightFormat format,
      Device device,
      DType dtype)
      throws IOException {
    AdapterConfig config = adapter.withBase(folder.toString());
    if (format == null) {
      LanguageModel base = ModelFiles.load(folder, device, dtype);
      try {
        return new StartingModel(base.adapted(config, seed), base, null);
      } catch (RuntimeException e) {
        base.close();
        throw e;
      }
    }
    FrozenModel packed = FrozenModel.load(folder, device, format);
    try {
      return new StartingModel(LanguageModel.over(packed, config, seed), null, packed);
    } catch (RuntimeException e) {
      packed.close();
      throw e;
    }
  }

  LanguageModel model() {
    return model;
  }

  /**
   * Writes what was trained, with its tokenizer and template: the model, or its adapter.
   *
   * @param merge whether an adapter becomes part of the model that is written
   */
  void save(Chat chat, boolean merge, Path out) throws IOException {
    if (model.adapter() == null) {
      saveWhole(model, chat, out);
    } else if (merge) {
      model.adapter().merge();
      saveWhole(base, chat, out);
    } else {
      chat.save(out);
      PeftFiles.save(model, out);
    }
  }

  private static void saveWhole(LanguageModel whole, Chat chat, Path out) throws IOException {
    ModelFiles.writeConfig(whole.config(), OptionalInt.of(chat.endToken()), out);
    chat.save(out);
    ModelFiles.writeWeights(whole, out);
  }

  @Override
  public void close() {
    model.close();
    if (base != null) {
      base.close();
    }
    if (packed != null) {
      packed.close();
    }
  }
}
