package dev.sinter.text;

/**
 * A token that stands for itself in a text, apart from the model's vocabulary.
 *
 * @param content as written
 * @param id of the token
 * @param special whether it is control, to be parsed out of a text only where that is asked
 * @param left whether it takes the white space before it along
 * @param right whether it takes the white space after it along
 */
record AddedToken(String content, int id, boolean special, boolean left, boolean right) {
  static AddedToken special(String content, int id) {
    return new AddedToken(content, id, true, false, false);
  }
}
