package dev.sinter.text;

/**
 * Decodes a stream of ids without ever splitting a character. To be used by one thread at a time.
 */
public interface TokenDecoder {
  /**
   * Takes the next id.
   *
   * @param id from the vocabulary
   * @return the characters that are complete now; may be empty
   */
  String push(int id);

  /**
   * Ends the stream.
   *
   * @return U+FFFD for bytes of a character that never came to its end; may be empty
   */
  String flush();
}
