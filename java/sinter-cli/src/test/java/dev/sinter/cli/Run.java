package dev.sinter.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.List;

/** What a command printed and returned. */
record Run(int code, String out, String err) {
  /** Checks the exit code and that one of the lines on stderr begins "sinter:" and says this. */
  void failed(int expected, String... says) {
    assertEquals(expected, code, err);
    List<String> lines = err.lines().filter(line -> line.startsWith("sinter: ")).toList();
    assertEquals(1, lines.size(), err);
    for (String part : says) {
      assertTrue(lines.get(0).contains(part), lines.get(0));
    }
    assertFalse(err.contains("\tat "), err);
  }

  /** Runs a command. */
  static Run run(Object... arguments) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    List<String> words = new ArrayList<>();
    for (Object argument : arguments) {
      words.add(argument.toString());
    }
    int code =
        Main.run(
            new PrintWriter(out, true), new PrintWriter(err, true), words.toArray(String[]::new));
    return new Run(code, out.toString(), err.toString());
  }
}
