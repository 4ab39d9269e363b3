package dev.sinter.align;

import dev.sinter.align.Message.Role;
import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import dev.sinter.data.Table.Row;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Reads conversations, rankings and prompts from JSON Lines, with the names that Hugging Face's
 * users know. What is wrong with a line is said with its file, line and field.
 */
public final class AlignmentFiles {
  private AlignmentFiles() {}

  /**
   * Reads conversations to learn answers from. A line is one of:
   *
   * <ul>
   *   <li>{@code {"messages": [{"role": "user", "content": "…"}, …]}}, with at least one answer;
   *   <li>{@code {"prompt": …, "response": "…"}}, or {@code completion} for {@code response};
   *   <li>{@code {"instruction": "…", "input": "…", "output": "…"}}; the input may be missing.
   * </ul>
   *
   * @param file JSON Lines, or CSV or TSV with those columns
   * @return one or more
   * @throws IOException where the file is missing or a line is not what it should be
   */
  public static List<Conversation> conversations(Path file) throws IOException {
    List<Conversation> conversations = new ArrayList<>();
    for (Row row : Table.read(file).rows()) {
      conversations.add(conversation(row));
    }
    return conversations;
  }

  private static Conversation conversation(Row row) throws DataException {
    if (row.has("messages")) {
      Conversation conversation = messages(row, "messages");
      if (!conversation.isAnswered()) {
        throw row.wrong("messages", "has no message of the assistant to learn from");
      }
      return conversation;
    }
    if (row.has("instruction")) {
      String input = row.textOrEmpty("input");
      String asked = row.text("instruction") + (input.isEmpty() ? "" : "\n\n" + input);
      return Conversation.asking(asked).then(Role.ASSISTANT, row.text("output"));
    }
    if (row.has("prompt")) {
      String response = row.has("completion") ? "completion" : "response";
      return prompt(row).then(Role.ASSISTANT, row.text(response));
    }
    throw row.wrong(
        "messages",
        "is missing; a line has messages, or prompt and response, or instruction and output");
  }

  /**
   * Reads rankings. A line is one of:
   *
   * <ul>
   *   <li>{@code {"prompt": …, "chosen": "…", "rejected": "…"}};
   *   <li>{@code {"prompt": …, "responses": ["…", …]}}, the best first, or with {@code "ranks": [1,
   *       1, 2, …]}, of which less is better and equal ones are tied.
   * </ul>
   *
   * @param file JSON Lines
   * @return one or more
   * @throws IOException where the file is missing or a line is not what it should be
   */
  public static List<Ranking> rankings(Path file) throws IOException {
    List<Ranking> rankings = new ArrayList<>();
    for (Row row : Table.read(file).rows()) {
      rankings.add(ranking(row));
    }
    return rankings;
  }

  private static Ranking ranking(Row row) throws DataException {
    Conversation prompt = prompt(row);
    if (!row.has("responses")) {
      String chosen = row.text("chosen");
      String rejected = row.text("rejected");
      if (chosen.equals(rejected)) {
        throw row.wrong("rejected", "is the same as chosen; leave the line out");
      }
      return Ranking.of(prompt, chosen, rejected);
    }
    List<String> responses = row.texts("responses");
    if (responses.size() < 2) {
      throw row.wrong("responses", "has " + responses.size() + "; two or more can be compared");
    }
    List<Integer> ranks =
        row.has("ranks")
            ? IntStream.of(row.integers("ranks")).boxed().toList()
            : IntStream.range(0, responses.size()).boxed().toList();
    if (ranks.size() != responses.size()) {
      throw row.wrong(
          "ranks", "has " + ranks.size() + " numbers for " + responses.size() + " responses");
    }
    if (ranks.stream().distinct().count() == 1) {
      throw row.wrong("ranks", "ties all responses, which says nothing; leave the line out");
    }
    return new Ranking(prompt, responses, ranks);
  }

  /**
   * Reads prompts to answer. A line is {@code {"prompt": …}} or {@code {"messages": […]}}; what
   * else it has is left out, and so are answers at the end of the messages.
   *
   * @param file JSON Lines, or CSV or TSV with a column prompt
   * @return one or more
   * @throws IOException where the file is missing or a line is not what it should be
   */
  public static List<Conversation> prompts(Path file) throws IOException {
    List<Conversation> prompts = new ArrayList<>();
    for (Row row : Table.read(file).rows()) {
      prompts.add(row.has("messages") ? unanswered(row) : prompt(row));
    }
    return prompts;
  }

  private static Conversation unanswered(Row row) throws DataException {
    List<Message> messages = messages(row, "messages").messages();
    int end = messages.size();
    while (end > 0 && messages.get(end - 1).role() == Role.ASSISTANT) {
      end--;
    }
    if (end == 0) {
      throw row.wrong("messages", "has nothing to answer");
    }
    return new Conversation(messages.subList(0, end));
  }

  /** A prompt is a text, or the messages before the answer. */
  private static Conversation prompt(Row row) throws DataException {
    return row.isArray("prompt")
        ? messages(row, "prompt")
        : Conversation.asking(row.text("prompt"));
  }

  private static Conversation messages(Row row, String column) throws DataException {
    List<Message> messages = new ArrayList<>();
    for (Row message : row.objects(column)) {
      String name = message.text("role");
      Role role = Role.of(name);
      if (role == null) {
        throw message.wrong("role", "is " + name + "; system, user or assistant");
      }
      messages.add(new Message(role, message.text("content")));
    }
    if (messages.isEmpty()) {
      throw row.wrong(column, "has no messages");
    }
    return new Conversation(messages);
  }
}
