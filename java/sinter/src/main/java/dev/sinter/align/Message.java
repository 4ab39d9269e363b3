package dev.sinter.align;

import java.util.Locale;
import java.util.Objects;

/**
 * What one side of a conversation says.
 *
 * @param role which side
 * @param content its words
 */
public record Message(Role role, String content) {
  /** The sides of a conversation. */
  public enum Role {
    /** Who says how to answer. */
    SYSTEM,
    /** Who asks. */
    USER,
    /** Who answers: the model. */
    ASSISTANT;

    /** The name in files, or in all others null. */
    static Role of(String name) {
      for (Role role : values()) {
        if (role.file().equals(name)) {
          return role;
        }
      }
      return null;
    }

    String file() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** Neither is null. */
  public Message {
    Objects.requireNonNull(role, "role");
    Objects.requireNonNull(content, "content");
  }
}
