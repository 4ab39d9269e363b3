package dev.sinter.io;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;

/** What the readers and the writer of JSON share. */
final class Json {
  /** Keeps no table of names: a hostile file's names would fill it, or be made to collide in it. */
  static final JsonFactory FACTORY =
      JsonFactory.builder()
          .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .build();

  private Json() {}

  /** A parser's complaint as one line, without the source that Jackson appends to it. */
  static String problem(JsonProcessingException e) {
    String message = e.getOriginalMessage().lines().findFirst().orElse("malformed");
    JsonLocation where = e.getLocation();
    return where == null ? message : message + " (at character " + where.getCharOffset() + ")";
  }
}
