package dev.sinter.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.data.PretrainingExamples;
import dev.sinter.data.PretrainingExamples.Example;
import dev.sinter.data.PretrainingExamples.Settings;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.BertConfig;
import dev.sinter.model.Head;
import dev.sinter.model.TaskModel;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** BERT's examples follow its rules, and a small one learns from them. */
class BertTest {
  private static final int CLS = 1;
  private static final int SEP = 2;
  private static final int MASK = 3;
  private static final int FIRST = 4;
  private static final int VOCABULARY = 64;

  private static Settings settings(int length, boolean wholeWords) {
    return new Settings(
        length, 20, CLS, SEP, MASK, VOCABULARY, wholeWords ? token -> token % 3 == 0 : null);
  }

  /** Each document counts upwards from a number of its own: neighbours tell what is masked. */
  private static List<List<int[]>> documents(int count, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    List<List<int[]>> documents = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      List<int[]> sentences = new ArrayList<>();
      int word = random.nextInt(VOCABULARY - FIRST);
      for (int j = 0; j < 6; j++) {
        int[] sentence = new int[4 + random.nextInt(8)];
        for (int k = 0; k < sentence.length; k++) {
          sentence[k] = FIRST + word;
          word = (word + 1) % (VOCABULARY - FIRST);
        }
        sentences.add(sentence);
      }
      documents.add(sentences);
    }
    return documents;
  }

  @Test
  void examplesHaveTwoSegmentsAndTheSharesOfMasksThatThePaperHas() {
    PretrainingExamples examples =
        new PretrainingExamples(documents(200, 1), settings(48, false), 7);
    int count = 5000;
    long tokens = 0;
    long masked = 0;
    long hidden = 0;
    long kept = 0;
    int follows = 0;
    for (int i = 0; i < count; i++) {
      Example example = examples.get(i);
      int length = example.tokens().length;
      assertTrue(length <= 48);
      assertEquals(CLS, example.tokens()[0]);
      assertEquals(SEP, example.tokens()[length - 1]);
      int middle = 0;
      while (example.segments()[middle] == 0) {
        middle++;
      }
      assertEquals(SEP, example.tokens()[middle - 1]);
      assertTrue(middle > 2 && middle < length - 1, "both segments have tokens");
      for (int j = middle; j < length; j++) {
        assertEquals(1, example.segments()[j]);
      }
      for (int j = 0; j < example.places().length; j++) {
        int place = example.places()[j];
        assertTrue(place > 0 && place != middle - 1 && place < length - 1);
        assertTrue(j == 0 || place > example.places()[j - 1]);
        hidden += example.tokens()[place] == MASK ? 1 : 0;
        kept += example.tokens()[place] == example.words()[j] ? 1 : 0;
      }
      tokens += length;
      masked += example.places().length;
      follows += example.follows() ? 1 : 0;
    }
    assertEquals(0.15, (double) masked / tokens, 0.01);
    assertEquals(0.8, (double) hidden / masked, 0.01);
    assertEquals(0.1 + 0.1 / VOCABULARY, (double) kept / masked, 0.01);
    // A piece of one sentence has none that follows.
    assertEquals(0.44, (double) follows / count, 0.06);
  }

  @Test
  void wholeWordsAreMaskedTogether() {
    PretrainingExamples examples = new PretrainingExamples(documents(50, 2), settings(48, true), 7);
    int together = 0;
    for (int i = 0; i < 500; i++) {
      Example example = examples.get(i);
      int[] places = example.places();
      for (int j = 0; j < places.length; j++) {
        if (example.words()[j] % 3 == 0 && example.tokens()[places[j] - 1] != CLS) {
          boolean before = j > 0 && places[j - 1] == places[j] - 1;
          boolean begins = example.tokens()[places[j] - 1] == SEP;
          assertTrue(before || begins, "a piece is masked and the word before it is not");
          together++;
        }
      }
    }
    assertTrue(together > 100);
  }

  @Test
  void equalSeedsGiveEqualExamplesFromAnyPlaceOn() {
    PretrainingExamples one = new PretrainingExamples(documents(5, 3), settings(32, false), 9);
    PretrainingExamples other = new PretrainingExamples(documents(5, 3), settings(32, false), 9);
    one.get(400);
    for (int i : new int[] {123, 7, 124}) {
      assertArrayEquals(one.get(i).tokens(), other.get(i).tokens());
    }
  }

  @Test
  void oneDocumentIsNotEnough() {
    assertThrows(
        IllegalArgumentException.class,
        () -> new PretrainingExamples(documents(1, 1), settings(32, false), 1));
  }

  @Test
  void aSmallBertLearnsWhatIsBehindTheMasksAndWhichSegmentsBelongTogether() {
    Settings settings = settings(32, false);
    PretrainingExamples examples = new PretrainingExamples(documents(2000, 4), settings, 1);
    PretrainingExamples held = new PretrainingExamples(documents(200, 5), settings, 2);
    BertConfig config = BertConfig.of(VOCABULARY, 32, 64, 2, 4).withDropout(0);
    try (Device device = Device.cpu();
        TaskModel model =
            new TaskModel(config, Head.pretraining(), device, DType.F32).initialize(1)) {
      BertTrainer trainer = new BertTrainer(model, examples, 32, 32, 5, 1);
      BertTrainer.Result before = trainer.evaluate(held, 8);
      trainer.run(
          AdamW.of(Schedule.cosine(4e-3, 2e-4).warmup(50)).withBetas(0.9, 0.999), 800, step -> {});
      BertTrainer.Result after = trainer.evaluate(held, 8);
      assertEquals(Math.log(VOCABULARY) + Math.log(2), before.loss(), 0.6);
      assertTrue(before.accuracy() < 0.1, "accuracy " + before.accuracy());
      assertTrue(after.accuracy() > 0.8, "accuracy " + after.accuracy());
      assertTrue(after.nextAccuracy() > 0.8, "next accuracy " + after.nextAccuracy());
    }
  }
}
