package dev.sinter;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.Encoder.Answer;
import dev.sinter.Encoder.Label;
import dev.sinter.Encoder.Mask;
import dev.sinter.Encoder.Pooling;
import dev.sinter.Encoder.Tag;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.Parameters;
import dev.sinter.model.BertConfig;
import dev.sinter.model.GptConfig;
import dev.sinter.model.Head;
import dev.sinter.model.Head.Loss;
import dev.sinter.model.TaskGraph;
import dev.sinter.model.TaskModel;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.Encoding;
import dev.sinter.text.Tokenizer;
import dev.sinter.text.WordTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Encoders: what a padded batch, a window or a cut does to what they say, and where words are. */
class EncoderTest {
  private static final String TEXT =
      "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs!";
  private static final int CONTEXT = 24;

  private static Device device;
  private static Tokenizer words;

  @TempDir Path folder;

  @BeforeAll
  static void open() {
    device = Device.cpu(2);
    words = WordTokenizer.trainWordPiece(TEXT, 70, true);
  }

  @AfterAll
  static void close() {
    device.close();
  }

  /** Random weights, greater than new ones are: what they compute differs from text to text. */
  private static Encoder bert(Head head, String... labels) {
    BertConfig config = BertConfig.of(words.size() + 3, CONTEXT, 16, 2, 2);
    TaskModel model = new TaskModel(config, head, device, DType.F32).initialize(5);
    return Encoder.of(model, words, List.of(labels));
  }

  /** Texts of 1 to 90 words, most of them longer than the context. */
  private static List<String> texts() {
    String[] all = TEXT.split(" ", -1);
    return IntStream.range(0, 45)
        .mapToObj(
            i ->
                String.join(
                    " ",
                    IntStream.range(0, 1 + i * i % 23).mapToObj(j -> all[(i + j) % 17]).toList()))
        .toList();
  }

  private static void assertClose(double[] expected, double[] actual) {
    assertArrayEquals(expected, actual, 1e-5);
  }

  private static double[] doubles(float... values) {
    return IntStream.range(0, values.length).mapToDouble(i -> values[i]).toArray();
  }

  @Test
  void aTextInABatchHasTheVectorThatItHasAlone() {
    try (Encoder bert = bert(Head.masked())) {
      for (Pooling pooling : Pooling.values()) {
        float[][] together = bert.embed(texts(), pooling, true);
        for (int i = 0; i < together.length; i++) {
          float[] alone = bert.embed(List.of(texts().get(i)), pooling, true)[0];
          assertClose(doubles(alone), doubles(together[i]));
          double length = Arrays.stream(doubles(alone)).map(x -> x * x).sum();
          assertEquals(1, length, 1e-5);
        }
      }
    }
  }

  @Test
  void whatStandsInThePaddingDoesNotMatter() {
    Encoding input = words.encoding("the quick brown fox");
    int count = input.length();
    float[][] seen = new float[2][16];
    try (Encoder bert = bert(Head.mean());
        TaskGraph graph = bert.model().graph(1, CONTEXT, 0)) {
      for (int run = 0; run < 2; run++) {
        for (int i = 0; i < CONTEXT; i++) {
          graph.tokens().put(i, i < count ? input.ids()[i] : run * 7 + i % 3);
        }
        graph.lengths().put(0, count);
        graph.run(0, false);
        graph.outputs().get(0, seen[run]);
      }
      assertArrayEquals(seen[0], seen[1]);
      float[] ours = bert.embed(List.of("the quick brown fox"), Pooling.MEAN, false)[0];
      assertClose(doubles(seen[0]), doubles(ours));
    }
  }

  @Test
  void aTextThatIsTooLongIsCutOff() {
    try (Encoder bert = bert(Head.first())) {
      Encoding cut = bert.encode(TEXT);
      assertEquals(CONTEXT, cut.length());
      String kept = TEXT.substring(0, cut.ends()[CONTEXT - 2]);
      assertClose(
          doubles(bert.embed(List.of(kept), Pooling.FIRST, false)[0]),
          doubles(bert.embed(List.of(TEXT), Pooling.FIRST, false)[0]));
    }
  }

  @Test
  void masksHaveTheirPlacesAndProbabilitiesAddUp() {
    String text = "the [MASK] brown [MASK] jumps";
    for (Head head : List.of(Head.masked(), Head.pretraining())) {
      try (Encoder bert = bert(head)) {
        List<Mask> masks = bert.fillMask(text, 1000);
        assertEquals(2, masks.size());
        for (Mask mask : masks) {
          assertEquals("[MASK]", text.substring(mask.start(), mask.end()));
          assertEquals(bert.model().vocabulary(), mask.top().size());
          assertEquals(1, mask.top().stream().mapToDouble(x -> x.probability()).sum(), 1e-9);
          assertTrue(mask.top().get(0).probability() >= mask.top().get(1).probability());
        }
        assertFalse(masks.get(0).top().get(0).token().isEmpty());
        assertThrows(IllegalArgumentException.class, () -> bert.fillMask("no mask", 3));
        assertThrows(IllegalArgumentException.class, () -> bert.fillMask(TEXT + " [MASK]", 3));
      }
    }
  }

  @Test
  void labelsHaveTheNamesOfTheFolder() throws IOException {
    try (Encoder bert = bert(Head.sequence(3), "bad", "fair", "good")) {
      bert.save(folder);
      try (Encoder loaded = Encoder.load(folder, device, DType.F32)) {
        List<Label> labels = loaded.classify("the lazy dog", "the quick fox");
        assertEquals(bert.classify("the lazy dog", "the quick fox"), labels);
        assertEquals(
            List.of("bad", "fair", "good"), labels.stream().map(Label::name).sorted().toList());
        assertEquals(1, labels.stream().mapToDouble(Label::score).sum(), 1e-9);
        List<List<Label>> together = loaded.classify(texts());
        for (int i = 0; i < together.size(); i++) {
          Label best = loaded.classify(texts().get(i)).get(0);
          assertEquals(best.name(), together.get(i).get(0).name());
          assertEquals(best.score(), together.get(i).get(0).score(), 1e-5);
        }
        assertThrows(IllegalArgumentException.class, () -> loaded.tag("the"));
        assertThrows(IllegalArgumentException.class, () -> loaded.fillMask("the [MASK]", 1));
      }
      Path config = folder.resolve("config.json");
      Files.writeString(config, Files.readString(config).replace("\"1\" :", "\"7\" :"));
      IOException e =
          assertThrows(IOException.class, () -> Encoder.load(folder, device, DType.F32).close());
      assertTrue(e.getMessage().contains("id2label has no 1"), e.getMessage());
    }
  }

  @Test
  void severalLabelsAndNumbersAreNoSoftmax() {
    try (Encoder several = bert(Head.sequence(3).withLoss(Loss.BINARY_CROSS_ENTROPY));
        Encoder one = bert(Head.sequence(3));
        Encoder numbers = bert(Head.sequence(3).withLoss(Loss.SQUARED_ERROR))) {
      List<Label> values = numbers.classify("the lazy dog");
      double sum = values.stream().mapToDouble(value -> Math.exp(value.score())).sum();
      for (Label value : values) {
        assertEquals("LABEL_" + value.id(), value.name());
        Function<Encoder, Double> of =
            model ->
                model.classify("the lazy dog").stream()
                    .filter(label -> label.id() == value.id())
                    .findFirst()
                    .orElseThrow()
                    .score();
        assertEquals(1 / (1 + Math.exp(-value.score())), of.apply(several), 1e-9);
        assertEquals(Math.exp(value.score()) / sum, of.apply(one), 1e-9);
      }
    }
  }

  @Test
  void aGptWithAHeadClassifiesTagsAndChooses() {
    Tokenizer tokenizer = BpeTokenizer.train(TEXT, 300);
    GptConfig config = GptConfig.of(tokenizer.size(), CONTEXT, 16, 2, 2);
    List<String> texts = texts();
    try (Encoder gpt =
        Encoder.of(
            new TaskModel(config, Head.sequence(2), device, DType.F32).initialize(3),
            tokenizer,
            List.of("no", "yes"))) {
      List<List<Label>> together = gpt.classify(texts);
      for (int i = 0; i < texts.size(); i++) {
        assertEquals(
            gpt.classify(texts.get(i)).get(0).score(), together.get(i).get(0).score(), 1e-5);
      }
    }
    try (Encoder gpt =
        Encoder.of(
            new TaskModel(config, Head.tokens(2), device, DType.F32).initialize(3),
            tokenizer,
            List.of())) {
      List<String> seen = gpt.tag("quick foxes, five dozen").stream().map(Tag::text).toList();
      assertEquals(List.of("quick", "foxes", ",", "five", "dozen"), seen);
    }
    try (Encoder gpt =
        Encoder.of(
            new TaskModel(config, Head.choice(2), device, DType.F32).initialize(3),
            tokenizer,
            List.of())) {
      double[] shares = gpt.choose("the lazy", List.of(" dog", " fox", " jug"));
      assertEquals(3, shares.length);
      assertEquals(1, Arrays.stream(shares).sum(), 1e-9);
    }
  }

  @Test
  void wordsOfALongTextHaveTheirPlacesAndTheLabelOfTheirWindow() {
    try (Encoder bert = bert(Head.tokens(4), "O", "A", "B", "C")) {
      String text = (TEXT + "\n").repeat(7).strip();
      List<Tag> tags = bert.tag(text);
      List<String> expected = new ArrayList<>();
      for (String word : text.split("\\s+", -1)) {
        if (word.matches(".*[.!]")) {
          expected.add(word.substring(0, word.length() - 1));
          expected.add(word.substring(word.length() - 1));
        } else {
          expected.add(word);
        }
      }
      assertEquals(expected, tags.stream().map(Tag::text).toList());
      int from = 0;
      for (Tag tag : tags) {
        assertEquals(tag.text(), text.substring(tag.start(), tag.end()));
        assertEquals(text.indexOf(tag.text(), from), tag.start());
        from = tag.end();
      }
      // A text of one window has the labels that the model gives it there.
      String small = "five dozen jugs";
      List<Tag> alone = bert.tag(small);
      List<Tag> tokens = bert.tag(words.encoding(small));
      assertEquals(alone.get(0).label(), tokens.get(0).label());
      assertEquals(alone.get(0).score(), tokens.get(0).score(), 1e-9);
    }
  }

  @Test
  void everyTokenHasAWindowThatHoldsIt() {
    for (int context = 3; context < 12; context++) {
      for (int tokens = 0; tokens < 40; tokens++) {
        int[] ids = IntStream.range(0, tokens + 2).toArray();
        int[] sequences = new int[tokens + 2];
        sequences[0] = -1;
        sequences[tokens + 1] = -1;
        Encoding all =
            new Encoding(
                ids, new int[ids.length], new int[ids.length], new int[ids.length], sequences);
        Windows windows = Windows.of(all, context);
        Encoding[] inputs = windows.inputs();
        for (Encoding input : inputs) {
          assertTrue(input.length() <= context);
          assertEquals(0, input.ids()[0]);
          assertEquals(tokens + 1, input.ids()[input.length() - 1]);
        }
        for (int i = 1; i <= tokens; i++) {
          int window = windows.of(i);
          assertEquals(i, inputs[window].ids()[windows.place(i, window)]);
        }
      }
    }
  }

  @Test
  void anAnswerIsTheBestOfAllWindowsAndMapsBack() {
    String context = (TEXT + " ").repeat(6).strip();
    try (Encoder bert = bert(Head.span())) {
      Answer answer = bert.answer("quick fox?", context, false);
      assertEquals(context.substring(answer.start(), answer.end()), answer.text());
      assertFalse(answer.text().isEmpty());
      double best = Double.NEGATIVE_INFINITY;
      int overlap = (CONTEXT - 3 - words.encode("quick fox?").length) / 2;
      for (Encoding window : words.windows("quick fox?", context, CONTEXT, overlap)) {
        best = Math.max(best, bert.answer(false, window).score());
      }
      assertEquals(best, answer.score(), 1e-5);
      Answer orNone = bert.answer("quick fox?", context, true);
      boolean none = answer.nullScore() >= answer.score();
      assertEquals(none, orNone.start() == orNone.end());
      assertThrows(IllegalArgumentException.class, () -> bert.answer(context, context, false));
    }
  }

  @Test
  void choicesAreWeighedTogether() {
    try (Encoder bert = bert(Head.choice(2))) {
      List<String> choices = List.of("the lazy dog", "five dozen", "liquor jugs", "my box");
      double[] shares = bert.choose("pack", choices);
      assertEquals(1, Arrays.stream(shares).sum(), 1e-9);
      double[] two = bert.choose("pack", choices.subList(0, 2));
      assertEquals(two[0] / two[1], shares[0] / shares[1], 1e-4);
    }
  }

  @Test
  void idsAreCheckedBeforeTheyAreRead() {
    try (Encoder bert = bert(Head.sequence(2))) {
      int[][] wrong = {{}, {-1}, {bert.model().vocabulary()}, new int[CONTEXT + 1]};
      for (int[] ids : wrong) {
        assertThrows(IllegalArgumentException.class, () -> bert.classify(Encoding.of(ids)));
      }
      assertThrows(
          IllegalArgumentException.class,
          () -> bert.classify(Encoding.of(new int[] {1, 2}, new int[] {0, 2})));
    }
  }

  @Test
  void manyThreadsReadWhatOneDoes() {
    try (Encoder bert = bert(Head.masked())) {
      float[][] expected = bert.embed(texts(), Pooling.MEAN, false);
      IntStream.range(0, 200)
          .parallel()
          .forEach(
              i -> {
                int text = i % expected.length;
                float[] vector =
                    bert.embed(texts().subList(text, text + 1), Pooling.MEAN, false)[0];
                assertClose(doubles(expected[text]), doubles(vector));
                assertEquals(1, bert.fillMask("the [MASK]", 2).size());
              });
    }
  }

  @Test
  void damagedWeightsAreSaid() throws IOException {
    try (Encoder bert = bert(Head.sequence(2))) {
      bert.model()
          .parameters()
          .write(
              Parameters.Part.WEIGHT,
              "classifier.bias",
              elements -> {
                while (elements.hasRemaining()) {
                  elements.put(Float.NaN);
                }
              });
      assertThrows(ArithmeticException.class, () -> bert.classify("the"));
    }
  }

  @Test
  void aClosedEncoderSaysSo() {
    Encoder bert = bert(Head.mean());
    bert.close();
    bert.close();
    assertThrows(
        IllegalStateException.class, () -> bert.embed(List.of("the"), Pooling.MEAN, false));
  }
}
