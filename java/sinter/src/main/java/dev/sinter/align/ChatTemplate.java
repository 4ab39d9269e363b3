package dev.sinter.align;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.align.Message.Role;
import dev.sinter.data.DataException;
import dev.sinter.data.TextFiles;
import dev.sinter.io.AtomicFiles;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;

/**
 * How a conversation is written for a model: before each message the marker of its role, after it a
 * line's end.
 *
 * <p>What a message says cannot pass for a marker. Tokens of the vocabulary that a marker names, as
 * {@code <|im_start|>}, come from markers alone: the same letters in a message are plain text.
 * Where a marker is plain text itself, a line of a message that begins like it has a space put
 * behind its first letter.
 *
 * @param system marker of a system's messages
 * @param user marker of a user's messages
 * @param assistant marker of the model's answers
 * @param end what ends each message before its line does; empty: answers end with the tokenizer's
 *     end-of-text, others with their line. An answer ends with end-of-text as well where the
 *     vocabulary has no token for this
 */
public record ChatTemplate(String system, String user, String assistant, String end) {
  /** The file beside a model that says how it is talked to. */
  public static final String FILE = "chat.json";

  private static final String LINE_END = "\n";
  private static final int MOST_CHARACTERS = 1000;
  private static final List<String> FIELDS = List.of("system", "user", "assistant", "end");

  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY);

  /** Checks that the markers can be told apart. */
  public ChatTemplate {
    List<String> markers = List.of(system.strip(), user.strip(), assistant.strip());
    for (String marker : markers) {
      if (marker.codePointCount(0, marker.length()) < 2 || marker.length() > MOST_CHARACTERS) {
        throw new IllegalArgumentException(
            "marker \"" + marker + "\"; 2 to " + MOST_CHARACTERS + " characters, not blank");
      }
    }
    if (Set.copyOf(markers).size() < markers.size()) {
      throw new IllegalArgumentException(
          "two roles have the same marker; system, user and assistant differ: " + markers);
    }
    if (end.length() > MOST_CHARACTERS) {
      throw new IllegalArgumentException(
          "the end of a message has " + end.length() + " characters; at most " + MOST_CHARACTERS);
    }
  }

  /**
   * Roles by their names, for models that know no special tokens: {@code User:} on a line, the
   * message on the next.
   *
   * @return the template
   */
  public static ChatTemplate plain() {
    return of("System:\n", "User:\n", "Assistant:\n");
  }

  /**
   * ChatML, {@code <|im_start|>user}, the message, {@code <|im_end|>}.
   *
   * @return the template
   */
  public static ChatTemplate chatMl() {
    return new ChatTemplate(
        "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>");
  }

  /**
   * Markers of one's own; answers end with the tokenizer's end-of-text.
   *
   * @param system marker of a system's messages
   * @param user marker of a user's messages
   * @param assistant marker of the model's answers
   * @return the template
   */
  public static ChatTemplate of(String system, String user, String assistant) {
    return new ChatTemplate(system, user, assistant, "");
  }

  /**
   * Writes a conversation up to where the model answers.
   *
   * @param conversation so far
   * @param tokenizer of the model
   * @return tokens, the last of which are the assistant's marker
   */
  public int[] prompt(Conversation conversation, Tokenizer tokenizer) {
    Writer writer = new Writer(tokenizer);
    conversation.messages().forEach(writer::add);
    writer.marker(Role.ASSISTANT);
    return writer.example().tokens();
  }

  /**
   * Returns the token that ends an answer.
   *
   * @param tokenizer of the model
   * @return that of {@link #end}, or else end-of-text
   * @throws IllegalArgumentException where the vocabulary has neither
   */
  public int endToken(Tokenizer tokenizer) {
    OptionalInt own = end.isEmpty() ? OptionalInt.empty() : tokenizer.id(end);
    OptionalInt token = own.isPresent() ? own : tokenizer.endOfText();
    return token.orElseThrow(
        () ->
            new IllegalArgumentException(
                "the tokenizer has no end-of-text token, which ends an answer; a model trained with"
                    + " --tokenizer bpe:N has one"));
  }

  /** Writes a whole conversation. */
  Example example(Conversation conversation, Tokenizer tokenizer) {
    Writer writer = new Writer(tokenizer);
    conversation.messages().forEach(writer::add);
    return writer.example();
  }

  /** Writes a response behind a prompt; of the whole only the response is to be learned. */
  Example response(Conversation prompt, String response, Tokenizer tokenizer) {
    int[] before = prompt(prompt, tokenizer);
    Writer writer = new Writer(tokenizer);
    writer.answer(response);
    Example answer = writer.example();
    int[] tokens = Arrays.copyOf(before, before.length + answer.tokens().length);
    System.arraycopy(answer.tokens(), 0, tokens, before.length, answer.tokens().length);
    boolean[] answers = new boolean[tokens.length];
    Arrays.fill(answers, before.length, tokens.length, true);
    return new Example(tokens, answers);
  }

  private String markerOf(Role role) {
    return switch (role) {
      case SYSTEM -> system;
      case USER -> user;
      case ASSISTANT -> assistant;
    };
  }

  /** Collects the tokens of messages. */
  private final class Writer {
    private final Tokenizer content;
    private final Tokenizer markers;
    private final int endToken;
    private final Pattern forged;
    private int[] tokens = new int[64];
    private boolean[] answers = new boolean[64];
    private int length;

    Writer(Tokenizer tokenizer) {
      content = tokenizer;
      markers = tokenizer.parsingSpecials();
      endToken = endToken(tokenizer);
      Set<String> plain = new TreeSet<>();
      for (Role role : Role.values()) {
        String marker = markerOf(role);
        if (Arrays.equals(markers.encode(marker), content.encode(marker))) {
          plain.add(marker.strip());
        }
      }
      forged = plain.isEmpty() ? null : beginsLike(plain);
    }

    void add(Message message) {
      marker(message.role());
      if (message.role() == Role.ASSISTANT) {
        answer(message.content());
      } else {
        append(content.encode(harmless(message.content())), false);
        append(markers.encode(end), false);
      }
      append(markers.encode(LINE_END), false);
    }

    void marker(Role role) {
      append(markers.encode(markerOf(role)), false);
    }

    void answer(String text) {
      append(content.encode(harmless(text)), true);
      append(new int[] {endToken}, true);
    }

    private String harmless(String text) {
      return forged == null ? text : forged.matcher(text).replaceAll("$1 ");
    }

    private void append(int[] more, boolean answer) {
      int end = length + more.length;
      if (end > tokens.length) {
        tokens = Arrays.copyOf(tokens, Math.max(end, 2 * tokens.length));
        answers = Arrays.copyOf(answers, tokens.length);
      }
      System.arraycopy(more, 0, tokens, length, more.length);
      Arrays.fill(answers, length, end, answer);
      length = end;
    }

    Example example() {
      return new Example(Arrays.copyOf(tokens, length), Arrays.copyOf(answers, length));
    }
  }

  /** Matches the first letter of a marker at the beginning of a line, with what is before it. */
  private static Pattern beginsLike(Set<String> markers) {
    StringBuilder all = new StringBuilder();
    for (String marker : markers) {
      int first = marker.offsetByCodePoints(0, 1);
      all.append(all.isEmpty() ? "" : "|")
          .append(Pattern.quote(marker.substring(0, first)))
          .append("(?=")
          .append(Pattern.quote(marker.substring(first)))
          .append(")");
    }
    return Pattern.compile("((?m:^)\\h*+(?:" + all + "))");
  }

  /**
   * Reads how a model is talked to.
   *
   * @param folder of the model
   * @return empty where it has no {@link #FILE}
   * @throws IOException where that is not what it should be
   */
  public static Optional<ChatTemplate> load(Path folder) throws IOException {
    Path file = folder.resolve(FILE);
    if (!Files.isRegularFile(file)) {
      return Optional.empty();
    }
    JsonNode fields;
    try {
      fields = JSON.readTree(TextFiles.read(List.of(file)));
    } catch (JsonProcessingException e) {
      int line = e.getLocation() == null ? 0 : e.getLocation().getLineNr();
      throw new DataException(file, line, null, "no JSON: " + e.getOriginalMessage(), e);
    }
    for (String name : FIELDS) {
      if (!fields.path(name).isTextual()) {
        throw new DataException(file, 0, name, "is missing, or no text");
      }
    }
    try {
      return Optional.of(
          new ChatTemplate(
              fields.get("system").textValue(),
              fields.get("user").textValue(),
              fields.get("assistant").textValue(),
              fields.get("end").textValue()));
    } catch (IllegalArgumentException e) {
      throw new DataException(file, 0, null, e.getMessage(), e);
    }
  }

  /**
   * Writes {@link #FILE}.
   *
   * @param folder of the model
   * @throws IOException where it cannot be written; an old file stays as it was
   */
  public void save(Path folder) throws IOException {
    byte[] json =
        JSON.writerWithDefaultPrettyPrinter()
            .writeValueAsBytes(
                JSON.createObjectNode()
                    .put("system", system)
                    .put("user", user)
                    .put("assistant", assistant)
                    .put("end", end));
    AtomicFiles.write(folder.resolve(FILE), json);
  }
}
