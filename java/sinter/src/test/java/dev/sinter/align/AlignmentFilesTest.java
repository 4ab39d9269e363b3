package dev.sinter.align;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.align.Message.Role;
import dev.sinter.data.DataException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class AlignmentFilesTest {
  private static final Conversation ASKED = Conversation.asking("hi");

  @TempDir private Path folder;

  private Path file(String... lines) throws IOException {
    return Files.write(folder.resolve("data.jsonl"), List.of(lines));
  }

  @Test
  void conversationsOfEachForm() throws IOException {
    Path file =
        file(
            "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\","
                + " \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"hello\"}]}",
            "{\"prompt\": \"hi\", \"response\": \"hello\"}",
            "",
            "{\"prompt\": \"hi\", \"completion\": \"hello\"}",
            "{\"instruction\": \"add\", \"input\": \"1 2\", \"output\": \"3\"}",
            "{\"instruction\": \"hi\", \"input\": \"\", \"output\": \"hello\"}",
            "{\"prompt\": [{\"role\": \"user\", \"content\": \"hi\"}], \"response\": \"hello\"}");
    Conversation answered = ASKED.then(Role.ASSISTANT, "hello");
    assertEquals(
        List.of(
            new Conversation(
                List.of(
                    new Message(Role.SYSTEM, "s"),
                    new Message(Role.USER, "hi"),
                    new Message(Role.ASSISTANT, "hello"))),
            answered,
            answered,
            Conversation.asking("add\n\n1 2").then(Role.ASSISTANT, "3"),
            answered,
            answered),
        AlignmentFiles.conversations(file));
  }

  @Test
  void rankingsOfEachForm() throws IOException {
    Path file =
        file(
            "{\"prompt\": \"hi\", \"chosen\": \"a\", \"rejected\": \"b\"}",
            "{\"prompt\": \"hi\", \"responses\": [\"a\", \"b\", \"c\"]}",
            "{\"prompt\": \"hi\", \"responses\": [\"a\", \"b\", \"c\"], \"ranks\": [2, 1, 1]}");
    assertEquals(
        List.of(
            new Ranking(ASKED, List.of("a", "b"), List.of(0, 1)),
            new Ranking(ASKED, List.of("a", "b", "c"), List.of(0, 1, 2)),
            new Ranking(ASKED, List.of("a", "b", "c"), List.of(2, 1, 1))),
        AlignmentFiles.rankings(file));
  }

  @Test
  void promptsOfEachForm() throws IOException {
    Path file =
        file(
            "{\"prompt\": \"hi\", \"chosen\": \"left out\"}",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\","
                + " \"content\": \"hello\"}]}");
    assertEquals(List.of(ASKED, ASKED), AlignmentFiles.prompts(file));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "{\"messages\": []} | messages",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]} | messages",
        "{\"messages\": [{\"role\": \"robot\", \"content\": \"x\"}]} | messages.role",
        "{\"messages\": [{\"role\": \"user\"}]} | messages.content",
        "{\"messages\": \"x\"} | messages",
        "{\"prompt\": \"x\"} | response",
        "{\"instruction\": \"x\"} | output",
        "{\"text\": \"x\"} | messages"
      })
  void aBadConversationIsNamed(String line, String field) throws IOException {
    Path file = file("{\"prompt\": \"hi\", \"response\": \"hello\"}", line);
    check(field, assertThrows(DataException.class, () -> AlignmentFiles.conversations(file)));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "{\"chosen\": \"a\", \"rejected\": \"b\"} | prompt",
        "{\"prompt\": \"x\", \"chosen\": \"a\"} | rejected",
        "{\"prompt\": \"x\", \"chosen\": \"a\", \"rejected\": \"a\"} | rejected",
        "{\"prompt\": \"x\", \"chosen\": [1], \"rejected\": \"a\"} | chosen",
        "{\"prompt\": \"x\", \"responses\": [\"a\"]} | responses",
        "{\"prompt\": \"x\", \"responses\": \"a\"} | responses",
        "{\"prompt\": \"x\", \"responses\": [\"a\", \"b\"], \"ranks\": [1]} | ranks",
        "{\"prompt\": \"x\", \"responses\": [\"a\", \"b\"], \"ranks\": [1, 1]} | ranks",
        "{\"prompt\": \"x\", \"responses\": [\"a\", \"b\"], \"ranks\": [1, \"b\"]} | ranks"
      })
  void aBadRankingIsNamed(String line, String field) throws IOException {
    Path file = file("{\"prompt\": \"x\", \"chosen\": \"a\", \"rejected\": \"b\"}", line);
    check(field, assertThrows(DataException.class, () -> AlignmentFiles.rankings(file)));
  }

  private static void check(String field, DataException e) {
    String message = e.getMessage();
    assertTrue(message.contains("data.jsonl: line 2, column " + field + ":"), message);
    assertEquals(1, message.lines().count());
  }

  @Test
  void aBrokenLineIsNamed() throws IOException {
    Path file = file("{\"prompt\": \"x\"}", "{\"prompt\": ");
    Exception e = assertThrows(DataException.class, () -> AlignmentFiles.prompts(file));
    assertTrue(e.getMessage().contains("data.jsonl: line 2: no JSON"), e.getMessage());
  }
}
