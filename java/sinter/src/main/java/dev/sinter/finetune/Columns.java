package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.data.Table;
import java.util.ArrayList;
import java.util.List;

/** The names that columns have in Hugging Face's data sets. */
final class Columns {
  static final String[][] PAIRS = {
    {"sentence1", "sentence2"},
    {"premise", "hypothesis"},
    {"question1", "question2"},
    {"text1", "text2"},
    {"text_a", "text_b"},
    {"text", "text_pair"},
    {"question", "sentence"},
    {"question", "passage"},
    {"question", "answer"},
    {"query", "passage"},
    {"query", "document"},
  };
  static final String[] TEXT = {
    "text", "sentence", "content", "review", "tweet", "question", "premise", "query"
  };
  static final String[] LABEL = {"label", "labels", "target", "class"};

  private Columns() {}

  static boolean arePair(Table table) {
    return pair(table) != null;
  }

  /** A pair of texts where there are columns for one; else a text. */
  static List<String> texts(Table table, Table.Row row) throws DataException {
    String[] pair = pair(table);
    return pair == null
        ? List.of(row.text(table.column(TEXT)))
        : List.of(row.text(pair[0]), row.text(pair[1]));
  }

  private static String[] pair(Table table) {
    for (String[] pair : PAIRS) {
      if (table.has(pair[0]) && table.has(pair[1])) {
        return pair;
      }
    }
    return null;
  }

  /** The texts of columns that are numbered from 0 on. */
  static List<String> numbered(Table.Row row, String name) throws DataException {
    List<String> texts = new ArrayList<>();
    while (row.has(name + texts.size())) {
      texts.add(row.text(name + texts.size()));
    }
    return texts;
  }

  /** Names of pairs, as help shows them. */
  static String pairs() {
    StringBuilder all = new StringBuilder();
    for (String[] pair : PAIRS) {
      all.append(all.isEmpty() ? "" : ", ").append(pair[0]).append('+').append(pair[1]);
    }
    return all.toString();
  }
}
