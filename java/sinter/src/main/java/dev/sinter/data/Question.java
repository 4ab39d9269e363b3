package dev.sinter.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * A question about a text, and where people found its answer (SQuAD: Rajpurkar et al. 2016, 2018).
 *
 * @param line of the file on which it stands, from 1; 0: the file is one JSON text
 * @param id of the question
 * @param question what is asked
 * @param context in which the answer is
 * @param answers any of them is right; none: the context has none
 */
public record Question(
    long line, String id, String question, String context, List<Answer> answers) {
  private static final ObjectMapper JSON = new ObjectMapper();

  /**
   * An answer.
   *
   * @param text of it, as the context has it
   * @param start its first character's index in the context
   */
  public record Answer(String text, int start) {}

  /** Takes a copy. */
  public Question {
    answers = List.copyOf(answers);
  }

  /**
   * Reads SQuAD's JSON, version 1.1 or 2: of unanswerable questions ({@code is_impossible}) the
   * plausible answers are left out.
   *
   * @param file in UTF-8
   * @return its questions, at least one
   * @throws IOException where the file is missing or no such JSON, an id occurs twice, or an answer
   *     is not in its context where the file says
   */
  public static List<Question> read(Path file) throws IOException {
    Reader reader = new Reader(file);
    JsonNode root;
    try {
      root = JSON.readTree(TextFiles.read(List.of(file)));
    } catch (JsonProcessingException e) {
      long line = e.getLocation() == null ? 0 : e.getLocation().getLineNr();
      String message = e.getOriginalMessage().lines().findFirst().orElse("malformed");
      throw new DataException(file, line, null, "no JSON: " + message, e);
    }
    reader.each(root, "", "data", reader::article);
    if (reader.questions.isEmpty()) {
      throw new DataException(file, 0, null, "has no questions");
    }
    return reader.questions;
  }

  /**
   * Finds an answer's place: characters are counted as SQuAD's files count them, code point by code
   * point, which differs from Java's beyond U+FFFF.
   *
   * @param context in which it is
   * @param answer its text
   * @param start its first character's index, in code points
   * @return its first char's index; -1: it is not there
   */
  public static int find(String context, String answer, int start) {
    if (start < 0 || start > context.codePointCount(0, context.length())) {
      return -1;
    }
    int at = context.offsetByCodePoints(0, start);
    return context.startsWith(answer, at) ? at : -1;
  }

  private static final class Reader {
    private final Path file;
    private final List<Question> questions = new ArrayList<>();
    private final Set<String> seen = new HashSet<>();

    Reader(Path file) {
      this.file = file;
    }

    /** Takes an element of an array, and its name. */
    private interface Element {
      void take(JsonNode node, String name) throws DataException;
    }

    void each(JsonNode parent, String path, String name, Element element) throws DataException {
      JsonNode array = parent.path(name);
      if (!array.isArray()) {
        throw new DataException(file, 0, path + name, "is missing, or no array");
      }
      for (int i = 0; i < array.size(); i++) {
        element.take(array.get(i), path + name + "[" + i + "]");
      }
    }

    private String text(JsonNode parent, String path, String name) throws DataException {
      JsonNode node = parent.path(name);
      if (!node.isTextual() || node.asText().isEmpty()) {
        throw new DataException(file, 0, path + "." + name, "is missing, or no text");
      }
      return node.asText();
    }

    void article(JsonNode article, String path) throws DataException {
      each(article, path + ".", "paragraphs", this::paragraph);
    }

    private void paragraph(JsonNode paragraph, String path) throws DataException {
      String context = text(paragraph, path, "context");
      each(paragraph, path + ".", "qas", (qa, at) -> question(qa, at, context));
    }

    private void question(JsonNode qa, String path, String context) throws DataException {
      String id = text(qa, path, "id");
      if (!seen.add(id)) {
        throw new DataException(file, 0, path + ".id", FormatException.quote(id) + " again");
      }
      List<Answer> answers = new ArrayList<>();
      if (!qa.path("is_impossible").asBoolean() && qa.hasNonNull("answers")) {
        each(qa, path + ".", "answers", (answer, at) -> answers.add(answer(answer, at, context)));
      }
      questions.add(new Question(0, id, text(qa, path, "question"), context, answers));
    }

    private Answer answer(JsonNode answer, String path, String context) throws DataException {
      String text = text(answer, path, "text");
      JsonNode start = answer.path("answer_start");
      int at = start.isInt() ? find(context, text, start.asInt()) : -1;
      if (at < 0) {
        throw new DataException(
            file,
            0,
            path + ".answer_start",
            FormatException.quote(text)
                + " is not in the context at "
                + (start.isMissingNode() ? "a place that is missing" : start));
      }
      return new Answer(text, at);
    }
  }
}
