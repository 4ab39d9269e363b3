package dev.sinter.data;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/**
 * Sentences in columns, as CoNLL's shared tasks have them: a token a line, its tags beside it, a
 * blank line between sentences. {@code -DOCSTART-} lines are left out.
 */
public final class Conll {
  private static final String DOCUMENT = "-DOCSTART-";

  private Conll() {}

  /**
   * A sentence.
   *
   * @param line of its first token, from 1
   * @param tokens at least one
   * @param tags one for each token; none where the file has but one column
   */
  public record Sentence(long line, List<String> tokens, List<String> tags) {
    /** Takes copies. */
    public Sentence {
      tokens = List.copyOf(tokens);
      tags = List.copyOf(tags);
    }
  }

  /**
   * Reads a file.
   *
   * @param file in UTF-8
   * @param column of the tags, from 1; 0: the last. The first has the tokens
   * @return its sentences, at least one
   * @throws IOException where the file is missing or empty, or a line lacks the column
   */
  public static List<Sentence> read(Path file, int column) throws IOException {
    return parse(file, TextFiles.read(List.of(file)), column);
  }

  /**
   * Reads a text.
   *
   * @param file what messages call it
   * @param text of such a file
   * @param column of the tags, from 1; 0: the last. The first has the tokens
   * @return its sentences, at least one
   * @throws DataException where there is none, or a line lacks the column
   */
  public static List<Sentence> parse(Path file, String text, int column) throws DataException {
    List<Sentence> sentences = new ArrayList<>();
    List<String> tokens = new ArrayList<>();
    List<String> tags = new ArrayList<>();
    int columns = 0;
    long line = 0;
    for (Iterator<String> lines = text.lines().iterator(); lines.hasNext(); ) {
      String next = lines.next();
      line++;
      if (line == 1 && next.startsWith("\uFEFF")) {
        next = next.substring(1);
      }
      if (next.isBlank()) {
        add(sentences, line, tokens, tags);
        continue;
      }
      String[] fields = next.strip().split("\\s+", -1);
      if (fields[0].equals(DOCUMENT)) {
        continue;
      }
      columns = columns == 0 ? fields.length : columns;
      if (fields.length != columns || column > columns) {
        throw new DataException(
            file,
            line,
            null,
            fields.length + " columns; " + Math.max(columns, column) + " are wanted");
      }
      tokens.add(fields[0]);
      if (columns > 1) {
        tags.add(fields[(column == 0 ? columns : column) - 1]);
      }
    }
    add(sentences, line + 1, tokens, tags);
    if (sentences.isEmpty()) {
      throw new DataException(file, 0, null, "has no sentences");
    }
    return sentences;
  }

  private static void add(
      List<Sentence> sentences, long line, List<String> tokens, List<String> tags) {
    if (!tokens.isEmpty()) {
      sentences.add(new Sentence(line - tokens.size(), tokens, tags));
      tokens.clear();
      tags.clear();
    }
  }
}
