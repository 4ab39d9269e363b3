package dev.sinter.model;

import dev.sinter.graph.Parameters;
import java.io.IOException;
import java.util.Set;

/** Weights in open files whose headers have been held to a model's parameters. */
interface StoredWeights extends AutoCloseable {
  /** The parameters, or parts of them, that are there, in the model's order. */
  Set<String> parts();

  /** The elements of one, from its first. */
  Parameters.Source elements(String part) throws IOException;

  @Override
  void close();
}
