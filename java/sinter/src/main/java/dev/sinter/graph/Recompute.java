package dev.sinter.graph;

/**
 * Which activations a training step keeps for its backward pass, and which it computes again:
 * memory against time.
 */
public enum Recompute {
  /** Keeps all. */
  NONE,
  /** Computes the outputs of GELU and layer norm again: cheap, and they are the largest. */
  ELEMENTWISE,
  /**
   * Keeps the input of each block alone and computes the rest of the block again (Chen et al.
   * 2016).
   */
  BLOCK
}
