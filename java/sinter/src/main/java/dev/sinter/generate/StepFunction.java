package dev.sinter.generate;

/**
 * A model as beam search sees it: a decoder alone, or one that reads an encoder's output. It keeps
 * what it has computed of each beam's tokens, and moves that where a beam goes on from another.
 */
public interface StepFunction {
  /**
   * Returns the size of the vocabulary.
   *
   * @return number of logits
   */
  int vocabulary();

  /**
   * Computes the prompt: an encoder-decoder its source and the decoder's start.
   *
   * @param logits [vocabulary] of the first token, written; all beams begin alike
   */
  void start(float[] logits);

  /**
   * Appends a token to each beam.
   *
   * @param tokens [beams]
   * @param parents [beams]: the beam of the step before that each goes on from
   * @param logits [beams][vocabulary] of the next token, written
   */
  void step(int[] tokens, int[] parents, float[][] logits);
}
