package dev.sinter.model;

import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;

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
   * Returns the weights.
   *
   * @return all parameters
   */
  Parameters parameters();

  /** Gives the weights back. Closing twice is harmless. */
  @Override
  void close();
}
