package dev.sinter.finetune;

import dev.sinter.text.Encoding;
import java.util.List;

/**
 * What a model reads and shall give for a sample, or for a part of one.
 *
 * @param inputs the sequences: one, or one for each choice; both orders of a pair; a query and its
 *     documents
 * @param targets the right class, classes of the tokens, start and end, or choice; the tokens of a
 *     target; -100: none
 * @param numbers the right numbers, or probabilities of labels
 * @param places of the words among the tokens, -1: cut off
 */
@SuppressWarnings("ArrayRecordComponent") // a value that is handed over, never compared
record Example(List<Encoding> inputs, int[] targets, float[] numbers, int[] places) {
  static final int IGNORED = -100;
  private static final int[] NO_INTS = {};
  private static final float[] NO_FLOATS = {};

  static Example of(Encoding input, int... targets) {
    return new Example(List.of(input), targets, NO_FLOATS, NO_INTS);
  }

  static Example of(List<Encoding> inputs, int... targets) {
    return new Example(inputs, targets, NO_FLOATS, NO_INTS);
  }

  static Example ofNumbers(Encoding input, float... numbers) {
    return ofNumbers(List.of(input), numbers);
  }

  static Example ofNumbers(List<Encoding> inputs, float... numbers) {
    return new Example(inputs, NO_INTS, numbers, NO_INTS);
  }

  /** Of the longest sequence. */
  int length() {
    return inputs.stream().mapToInt(Encoding::length).max().orElse(0);
  }

  int tokens() {
    return inputs.stream().mapToInt(Encoding::length).sum();
  }
}
