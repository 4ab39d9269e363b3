package dev.sinter;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.Seq2Seq.Translation;
import dev.sinter.generate.Beams;
import dev.sinter.generate.LengthPenalty;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An encoder-decoder with random weights: lengths, ends and files. */
class Seq2SeqTest {
  private static final int CONTEXT = 40;
  private static final List<String> TEXTS =
      List.of("the quick fox", "a", "jumps over the lazy dog and the quick brown fox");

  private static Device device;
  private static Tokenizer tokenizer;
  private static Seq2Seq model;

  @TempDir Path folder;

  @BeforeAll
  static void open() {
    device = Device.cpu(2);
    tokenizer = BpeTokenizer.train("the quick brown fox jumps over the lazy dog", 280);
    int size = tokenizer.size();
    TransformerConfig config =
        TransformerConfig.of(size + 1, CONTEXT, 16, 2, 2).withTokens(size, size - 1, size);
    model = Seq2Seq.of(new TransformerModel(config, device, DType.F32).initialize(2), tokenizer);
  }

  @AfterAll
  static void close() {
    model.close();
    device.close();
  }

  private static void assertSame(Translation expected, Translation actual) {
    assertArrayEquals(expected.ids(), actual.ids());
    assertEquals(expected.score(), actual.score(), 1e-5);
    assertEquals(expected.text(), actual.text());
  }

  @Test
  void textsGiveWhatTheirIdsGiveWhateverWasTranslatedBefore() {
    Beams beams = Beams.of(3).withReturned(2).withLengthPenalty(LengthPenalty.paper(0.6));
    List<List<Translation>> all = model.translate(TEXTS, beams, null);
    for (int i = TEXTS.size() - 1; i >= 0; i--) {
      int[] ids = tokenizer.encode(TEXTS.get(i));
      int[] ended = Arrays.copyOf(ids, ids.length + 1);
      ended[ids.length] = model.model().config().end();
      for (int[] source : List.of(ids, ended)) {
        List<Translation> alone = model.translate(source, beams, null);
        assertEquals(2, alone.size());
        assertSame(alone.get(0), all.get(i).get(0));
        assertSame(alone.get(1), all.get(i).get(1));
        assertTrue(alone.get(0).score() >= alone.get(1).score());
      }
    }
  }

  @Test
  void aSourceThatIsTooLongIsCutOff() {
    int[] source = IntStream.range(0, 3 * CONTEXT).map(i -> i % 200).toArray();
    Sampling few = Sampling.greedy().withMaxNewTokens(7);
    Translation cut = model.translate(source, Beams.of(2), few).get(0);
    assertSame(model.translate(Arrays.copyOf(source, CONTEXT - 1), Beams.of(2), few).get(0), cut);
    assertTrue(cut.ids().length <= 7);
  }

  @Test
  void paddingIsNoWord() {
    int padding = model.model().config().padding();
    for (String text : TEXTS) {
      int[] ids = model.translate(List.of(text), Beams.of(4), null).get(0).get(0).ids();
      assertTrue(Arrays.stream(ids).noneMatch(id -> id == padding));
    }
  }

  @Test
  void whatIsSavedTranslatesAlike() throws IOException {
    model.save(folder);
    try (Seq2Seq loaded = Seq2Seq.load(folder, device, DType.F32)) {
      for (String text : TEXTS) {
        assertEquals(model.translate(text), loaded.translate(text));
      }
    }
    assertThrows(IOException.class, () -> Encoder.load(folder, device, DType.F32).close());
  }

  @Test
  void idsAreCheckedBeforeTheyAreRead() {
    for (int[] wrong : new int[][] {{}, {-1}, {model.model().config().vocabulary()}}) {
      assertThrows(IllegalArgumentException.class, () -> model.translate(wrong, Beams.of(2), null));
    }
    assertThrows(IllegalArgumentException.class, () -> model.translate(""));
  }
}
