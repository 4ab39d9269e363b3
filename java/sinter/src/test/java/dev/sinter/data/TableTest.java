package dev.sinter.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TableTest {
  @TempDir Path folder;

  private Path file(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }

  private static void assertFails(String message, Path file) {
    IOException e = assertThrows(IOException.class, () -> Table.read(file));
    assertEquals(file + ": " + message, e.getMessage());
  }

  @Test
  void csvHasQuotesCommasLineEndsAndAByteOrderMark() throws IOException {
    Path file =
        file(
            "a.csv", "\uFEFFtext,label\r\n\"say \"\"hi\"\", now\",1\r\n\"two\nlines\",b\n\nlast,c");
    Table table = Table.read(file);
    assertEquals(List.of("text", "label"), table.columns());
    assertEquals(3, table.rows().size());
    assertEquals("say \"hi\", now", table.rows().get(0).text("text"));
    assertEquals(1, table.rows().get(0).number("label"));
    assertEquals("two\nlines", table.rows().get(1).text("text"));
    assertEquals(2, table.rows().get(0).line());
    assertEquals(3, table.rows().get(1).line());
    assertEquals(6, table.rows().get(2).line(), "the row before has two lines, then one is blank");
  }

  @Test
  void tsvKeepsQuotes() throws IOException {
    Table table = Table.read(file("a.tsv", "text\tlabel\n\"odd\tx\n"));
    assertEquals("\"odd", table.rows().get(0).text("text"));
  }

  @Test
  void jsonLinesHaveArraysObjectsAndNumbers() throws IOException {
    String text =
        """
        {"tokens": ["a", "b"], "tags": [1, 2], "label": 3}

        {"answers": {"text": ["x"], "answer_start": [7]}, "tokens": null}
        """;
    Table table = Table.read(file("a.jsonl", text));
    assertEquals(List.of("tokens", "tags", "label", "answers"), table.columns());
    Table.Row first = table.rows().get(0);
    assertEquals(List.of("a", "b"), first.texts("tokens"));
    assertArrayEquals(new int[] {1, 2}, first.integers("tags"));
    assertEquals("3", first.text("label"));
    Table.Row second = table.rows().get(1);
    assertEquals(3, second.line());
    assertFalse(second.has("tokens"));
    assertTrue(second.object("answers").isArray("text"));
    DataException e =
        assertThrows(DataException.class, () -> second.object("answers").text("answer_start"));
    assertEquals(
        folder.resolve("a.jsonl") + ": line 3, column answers.answer_start: is no text",
        e.getMessage());
  }

  @Test
  void anArrayOfObjectsIsRowsToo() throws IOException {
    Table table = Table.read(file("a.json", "[\n{\"text\": \"a\"},\n{\"text\": \"b\"}\n]\n"));
    assertEquals(3, table.rows().get(1).line());
    assertEquals("b", table.rows().get(1).text("text"));
    assertFails(
        "line 3: something follows the array of rows", file("b.json", "[\n{\"a\": 1}\n] {}"));
    assertFails(
        "line 2: is no JSON object, {\"column\": value, …}", file("c.json", "[{\"a\": 1},\n7]"));
  }

  @Test
  void aMissingOrEmptyColumnIsNamed() throws IOException {
    Path file = file("a.csv", "text,lable\nsome,x\n,y\n");
    Table table = Table.read(file);
    DataException missing =
        assertThrows(DataException.class, () -> table.rows().get(0).text("label"));
    assertEquals(
        file + ": line 2, column label: there is no such column; there are \"text\", \"lable\"",
        missing.getMessage());
    DataException empty = assertThrows(DataException.class, () -> table.rows().get(1).text("text"));
    assertEquals(file + ": line 3, column text: is empty", empty.getMessage());
    DataException number =
        assertThrows(DataException.class, () -> table.rows().get(0).number("lable"));
    assertEquals(file + ": line 2, column lable: \"x\" is no number", number.getMessage());
    DataException none = assertThrows(DataException.class, () -> table.column("a", "b"));
    assertEquals(
        file + ": line 2: there is no column a or b; there are \"text\", \"lable\"",
        none.getMessage());
  }

  @Test
  void brokenFilesAreRefusedWithTheirLine() throws IOException {
    assertFails(
        "line 3: a quote in this row is never closed, or text follows a closing one; a quote within"
            + " a quoted field is doubled",
        file("a.csv", "text,label\na,1\n\"b,2\nc,3\n"));
    assertFails("line 2: 3 fields; the header has 2", file("b.csv", "text,label\na,b,c\n"));
    assertFails("line 1: two columns are called \"a\"", file("c.csv", "a,a\n1,2\n"));
    assertFails("has no rows", file("d.csv", "text,label\n"));
    assertFails("there is no text in it", file("e.csv", ""));
    assertFails("has no rows", file("f.jsonl", "\n\n"));
    assertFails(
        "its name ends in none of .csv, .tsv, .jsonl, .ndjson and .json", file("g.txt", "a"));
    IOException e =
        assertThrows(
            DataException.class, () -> Table.read(file("h.jsonl", "{\"a\": 1}\n{\"a\": 1")));
    assertTrue(e.getMessage().startsWith(folder.resolve("h.jsonl") + ": line 2: no JSON: "));
    assertFalse(e.getMessage().contains("\n"));
  }

  @Test
  void deepNestingIsRefused() throws IOException {
    Path file = file("a.jsonl", "{\"a\": " + "[".repeat(100_000) + "]".repeat(100_000) + "}");
    assertThrows(DataException.class, () -> Table.read(file));
  }

  @Test
  void whateverIsWrittenIsReadAgain() throws IOException {
    Random random = new Random(5);
    String[] pieces = {"a", ",", "\"", "\n", "\r\n", " ", "é", "\t", "😀"};
    for (int run = 0; run < 300; run++) {
      int columns = 1 + random.nextInt(4);
      List<List<String>> rows = new ArrayList<>();
      StringBuilder csv = new StringBuilder();
      for (int i = 0; i < 1 + random.nextInt(5); i++) {
        List<String> row = new ArrayList<>();
        for (int j = 0; j < columns; j++) {
          StringBuilder cell = new StringBuilder(i == 0 ? "c" + j : "x");
          for (int k = random.nextInt(6); k > 0 && i > 0; k--) {
            cell.append(pieces[random.nextInt(pieces.length)]);
          }
          row.add(cell.toString());
          csv.append(j == 0 ? "" : ",").append('"');
          csv.append(cell.toString().replace("\"", "\"\"")).append('"');
        }
        csv.append(random.nextBoolean() ? "\n" : "\r\n");
        rows.add(row);
      }
      if (rows.size() == 1) {
        continue;
      }
      Table table = Table.csv(file("fuzz.csv", csv.toString()));
      assertEquals(rows.size() - 1, table.rows().size());
      for (int i = 1; i < rows.size(); i++) {
        for (int j = 0; j < columns; j++) {
          assertEquals(rows.get(i).get(j), table.rows().get(i - 1).text("c" + j));
        }
      }
    }
  }

  @Test
  void noTextIsMoreThanRefused() throws IOException {
    Random random = new Random(6);
    String pieces = "a,\"\n\r\t{}[]:1 \\é\uFEFF";
    for (int run = 0; run < 400; run++) {
      StringBuilder text = new StringBuilder("a");
      for (int i = random.nextInt(30); i > 0; i--) {
        text.append(pieces.charAt(random.nextInt(pieces.length())));
      }
      for (String ending : List.of(".csv", ".tsv", ".jsonl")) {
        Path file =
            file("any" + ending, ending.equals(".jsonl") ? text.substring(1) + " " : text + "");
        try {
          Table.read(file).rows().forEach(row -> assertTrue(row.line() > 0));
        } catch (IOException e) {
          assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
          assertEquals(1, e.getMessage().lines().count());
        }
      }
    }
  }
}
