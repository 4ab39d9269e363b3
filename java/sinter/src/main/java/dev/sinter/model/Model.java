package dev.sinter.model;

import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Weights;

/** A model's weights on a device. */
public sealed interface Model extends AutoCloseable
    permits LanguageModel, TaskModel, TransformerModel {
  /**
   * Returns the device.
   *
   * @return where the weights are
   */
  Device device();

  /**
   * Returns the weights of its own: what a training changes and files hold.
   *
   * @return all parameters; of an adapted model those of the adapter
   */
  Parameters parameters();

  /**
   * Returns the weights that graphs read.
   *
   * @return the parameters; of an adapted model its base's with the adapter's
   */
  Weights weights();

  /**
   * Returns the adapter.
   *
   * @return null: the model is not adapted
   */
  Adapter adapter();

  /** Gives the weights back. Closing twice is harmless. */
  @Override
  void close();
}
