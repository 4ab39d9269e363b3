package dev.sinter.finetune;

import dev.sinter.model.Model;
import dev.sinter.model.PeftFiles;
import java.io.IOException;
import java.nio.file.Path;

/** How a learner writes its model: whole, as an adapter's files, or merged with its adapter. */
final class Saving {
  private Saving() {}

  /** Writes one model whole. */
  @FunctionalInterface
  interface Whole<M extends Model> {
    void save(M model) throws IOException;
  }

  /**
   * @param base what the model's adapter lies over; null: it has none, or one over packed weights
   * @param merge whether an adapter becomes part of the model that is written
   */
  static <M extends Model> void save(M model, M base, boolean merge, Whole<M> whole, Path folder)
      throws IOException {
    if (model.adapter() == null) {
      whole.save(model);
    } else if (!merge) {
      PeftFiles.save(model, folder);
    } else {
      model.adapter().merge();
      try {
        whole.save(base);
      } finally {
        model.adapter().unmerge();
      }
    }
  }
}
