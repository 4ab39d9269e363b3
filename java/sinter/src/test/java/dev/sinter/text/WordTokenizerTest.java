package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class WordTokenizerTest {
  private static final String TEXT =
      "Who was Jim Henson? Jim Henson was a nice puppet. He lived in Zürich, Straße 12!";

  private final WordTokenizer bert = WordTokenizer.trainWordPiece(TEXT.repeat(3), 200, true);

  @Test
  void tokensPointAtTheirCharacters() {
    String text = "  Zu\u0308rich,\tJIM 🙂 Henson";
    Encoding encoding = bert.encoding(text);
    StringBuilder joined = new StringBuilder();
    for (int i = 0; i < encoding.length(); i++) {
      joined.append(text, encoding.starts()[i], encoding.ends()[i]);
      assertEquals(i == 0 || i == encoding.length() - 1, encoding.special(i));
    }
    assertEquals("Zurich,JIM🙂Henson", joined.toString().replace("\u0308", ""));
  }

  @Test
  void aPairHasTheTemplateOfBert() {
    Encoding encoding = bert.encoding("Jim", "Henson was");
    int first = bert.special(SpecialToken.CLASS).orElseThrow();
    int end = bert.special(SpecialToken.SEPARATOR).orElseThrow();
    int[] a = bert.encode("Jim");
    int[] b = bert.encode("Henson was");
    List<Integer> ids = new ArrayList<>(List.of(first));
    Arrays.stream(a).forEach(ids::add);
    ids.add(end);
    Arrays.stream(b).forEach(ids::add);
    ids.add(end);
    int[] expected = ids.stream().mapToInt(i -> i).toArray();
    assertArrayEquals(expected, encoding.ids());
    for (int i = 0; i < encoding.length(); i++) {
      assertEquals(i < a.length + 2 ? 0 : 1, encoding.types()[i]);
    }
  }

  @Test
  void theLongerTextGivesWay() {
    int[] a = bert.encode("Jim");
    Encoding encoding = bert.encoding("Jim", TEXT, 20);
    assertEquals(20, encoding.length());
    assertEquals(a.length, IntStream.of(encoding.sequences()).filter(i -> i == 0).count());
    assertEquals(20, bert.encoding(TEXT, TEXT, 20).length());
    assertEquals(5, bert.encoding(TEXT, 5).length());
    assertThrows(IllegalArgumentException.class, () -> bert.encoding("a", "b", 2));
  }

  @Test
  void windowsCoverTheContextAndOverlap() {
    Encoding whole = bert.encoding("Who?", TEXT);
    List<Encoding> windows = bert.windows("Who?", TEXT, 16, 3);
    assertTrue(windows.size() > 1);
    List<Integer> starts = new ArrayList<>();
    int last = 0;
    for (Encoding window : windows) {
      assertTrue(window.length() <= 16);
      int skip = starts.isEmpty() ? 0 : 3;
      for (int i = 0; i < window.length(); i++) {
        if (window.sequences()[i] == 1 && skip-- <= 0) {
          starts.add(window.starts()[i]);
        }
      }
      assertEquals(
          bert.special(SpecialToken.SEPARATOR).orElseThrow(), window.ids()[window.length() - 1]);
      last = window.ends()[window.length() - 2];
    }
    assertEquals(TEXT.length(), last);
    assertEquals(
        IntStream.range(0, whole.length())
            .filter(i -> whole.sequences()[i] == 1)
            .mapToObj(i -> whole.starts()[i])
            .toList(),
        starts);
    assertThrows(IllegalArgumentException.class, () -> bert.windows(TEXT, TEXT, 16, 3));
  }

  @Test
  void specialTokensAreParsedOnlyWhereAsked() {
    int mask = bert.special(SpecialToken.MASK).orElseThrow();
    assertEquals(mask, bert.id("[MASK]").orElseThrow());
    assertFalse(IntStream.of(bert.encode("was [MASK] a")).anyMatch(id -> id == mask));
    Encoding asked = bert.parsingSpecials().encoding("was [MASK] a");
    int place =
        IntStream.range(0, asked.length())
            .filter(i -> asked.ids()[i] == mask)
            .findFirst()
            .orElseThrow();
    assertEquals(4, asked.starts()[place]);
    assertEquals(10, asked.ends()[place]);
    assertFalse(asked.special(place));
  }

  @Test
  void decodingJoinsPiecesAndCleansUp() {
    assertEquals(
        "jim henson was, he lived!", bert.decode(bert.encode("Jim  Henson was , he lived !")));
    WordTokenizer gpt = WordTokenizer.trainBpe(TEXT, 200);
    assertEquals("jim henson , he lived", gpt.decode(gpt.encode("Jim  Henson, he lived")));
  }

  @Test
  void manyTextsAtOnceComeInOrder() {
    List<String> texts = IntStream.range(0, 500).mapToObj(i -> TEXT.substring(i % 70)).toList();
    ExecutorService executor = Executors.newFixedThreadPool(3);
    try {
      for (List<int[]> all : List.of(bert.encodeAll(texts), bert.encodeAll(texts, executor))) {
        for (int i = 0; i < texts.size(); i++) {
          assertArrayEquals(bert.encode(texts.get(i)), all.get(i));
        }
      }
    } finally {
      executor.shutdown();
    }
    CharTokenizer characters = CharTokenizer.train("abc");
    assertThrows(IllegalArgumentException.class, () -> characters.encodeAll(List.of("a", "d")));
  }

  @Test
  void anyTextComesBackFromBytes() {
    BpeTokenizer tokenizer = BpeTokenizer.train(TEXT, 400);
    Random random = new Random(3);
    for (int i = 0; i < 5_000; i++) {
      String text = RandomText.next(random);
      assertEquals(text, tokenizer.decode(tokenizer.encode(text)));
      Encoding encoding = tokenizer.encoding(text);
      assertArrayEquals(tokenizer.encode(text), encoding.ids());
    }
  }

  @Test
  void longWordsAndHeapsOfMarksTakeNoLongerThanOtherTexts() {
    WordTokenizer gpt = WordTokenizer.trainBpe(TEXT, 200);
    BpeTokenizer bytes = BpeTokenizer.train(TEXT, 400);
    Random random = new Random(5);
    StringBuilder letters = new StringBuilder();
    StringBuilder marks = new StringBuilder("a");
    for (int i = 0; i < 500_000; i++) {
      letters.append((char) ('a' + random.nextInt(26)));
      marks.append(i % 2 == 0 ? '\u0301' : '\u0316');
    }
    for (Tokenizer tokenizer : List.of(bert, gpt, bytes)) {
      for (StringBuilder text : List.of(letters, marks)) {
        assertTimeoutPreemptively(Duration.ofSeconds(20), () -> tokenizer.encoding(text));
      }
    }
  }

  @Test
  void settingsOfOlderFilesAreFollowed(@TempDir Path folder) throws IOException {
    Files.writeString(
        folder.resolve("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nZü\nzu\nzü\n東京\n東\n京\n");
    String[][] cases = {
      {"{}", "6", "9 10"},
      {"{\"do_lower_case\":false}", "5", "9 10"},
      {"{\"strip_accents\":false}", "7", "9 10"},
      {"{\"do_lower_case\":false,\"tokenize_chinese_chars\":false}", "5", "8"}
    };
    for (String[] one : cases) {
      Files.writeString(folder.resolve("tokenizer_config.json"), one[0]);
      Tokenizer tokenizer = Tokenizer.load(folder);
      assertEquals("[" + one[1] + "]", Arrays.toString(tokenizer.encode("Zü")));
      assertEquals("[" + one[2].replace(" ", ", ") + "]", Arrays.toString(tokenizer.encode("東京")));
    }
    assertEquals(0, Tokenizer.load(folder).special(SpecialToken.PADDING).orElseThrow());
  }

  @Test
  void addedTokensOfOlderFilesAreAlwaysParsed(@TempDir Path folder) throws IOException {
    bert.save(folder);
    Files.writeString(folder.resolve("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n");
    Files.delete(folder.resolve("tokenizer.json"));
    Files.writeString(folder.resolve("added_tokens.json"), "{\"Jim\": 6}");
    Tokenizer tokenizer = Tokenizer.load(folder);
    assertArrayEquals(new int[] {5, 6, 5}, tokenizer.encode("aJima"));
    tokenizer.save(folder);
    assertArrayEquals(new int[] {5, 6, 5}, Tokenizer.load(folder).encode("aJima"));
  }
}
