package dev.sinter.align;

import dev.sinter.align.Message.Role;
import java.util.ArrayList;
import java.util.List;

/**
 * Messages in the order in which they were said.
 *
 * @param messages at least one
 */
public record Conversation(List<Message> messages) {
  /** Copies the list. */
  public Conversation {
    messages = List.copyOf(messages);
    if (messages.isEmpty()) {
      throw new IllegalArgumentException("a conversation has no messages; one or more");
    }
  }

  /**
   * A conversation that begins with what a user says.
   *
   * @param content of the message
   * @return the conversation
   */
  public static Conversation asking(String content) {
    return new Conversation(List.of(new Message(Role.USER, content)));
  }

  /**
   * The conversation with a message more.
   *
   * @param role who says it
   * @param content of the message
   * @return a new conversation
   */
  public Conversation then(Role role, String content) {
    List<Message> more = new ArrayList<>(messages);
    more.add(new Message(role, content));
    return new Conversation(more);
  }

  /** Whether the model has said something. */
  boolean isAnswered() {
    return messages.stream().anyMatch(message -> message.role() == Role.ASSISTANT);
  }
}
