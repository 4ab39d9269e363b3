package dev.sinter.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.IntBuffer;
import java.util.Arrays;
import java.util.BitSet;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BatchesTest {
  private static Tokens count(int length) {
    int[] ids = new int[length];
    for (int i = 0; i < length; i++) {
      ids[i] = i;
    }
    return Tokens.of(ids);
  }

  @ParameterizedTest
  @CsvSource({"1000,7", "1001,1", "129,64", "130,33", "65,64", "5000,8"})
  void anEpochTakesEachWindowOnce(int length, int context) {
    Batches batches = new Batches(count(length), context, 1);
    int starts = length - context;
    int windows = Math.max(1, starts / context);
    for (int epoch = 0; epoch < 3; epoch++) {
      BitSet seen = new BitSet();
      for (long i = 0; i < windows; i++) {
        long start = batches.start((long) epoch * windows + i);
        assertTrue(start >= 0 && start < starts, "start " + start);
        for (int at = 0; at < Math.min(context, starts); at++) {
          int place = (int) ((start + at) % starts);
          assertFalse(seen.get(place), "epoch " + epoch + ", window " + i + ", token " + at);
          seen.set(place);
        }
      }
    }
  }

  @Test
  void eachStartIsEquallyLikely() {
    int starts = 50;
    Batches batches = new Batches(count(starts + 8), 8, 5);
    int samples = 60_000;
    int[] hits = new int[starts];
    for (int i = 0; i < samples; i++) {
      hits[(int) batches.start(i)]++;
    }
    double expected = (double) samples / starts;
    double chiSquare = 0;
    for (int hit : hits) {
      chiSquare += (hit - expected) * (hit - expected) / expected;
    }
    // 49 degrees of freedom: below 85 in 999 of 1000.
    assertTrue(chiSquare < 85, "chi-square " + chiSquare);
  }

  @Test
  void ordersDifferByEpochAndSeed() {
    Batches one = new Batches(count(10_000), 10, 1);
    Batches other = new Batches(count(10_000), 10, 2);
    int windows = 999;
    long same = LongStream.range(0, windows).filter(i -> one.start(i) == other.start(i)).count();
    assertTrue(same < 10, same + " equal starts");
    long[] first = LongStream.range(0, windows).map(one::start).toArray();
    long inOrder = 0;
    for (int i = 1; i < windows; i++) {
      inOrder += first[i] - first[i - 1] == 10 ? 1 : 0;
    }
    assertTrue(inOrder < 10, inOrder + " windows in the text's order");
    long[] second = LongStream.range(windows, 2L * windows).map(one::start).toArray();
    assertFalse(Arrays.equals(first, second));
  }

  @Test
  void copiesAWindowAndWhatFollowsEachToken() {
    Batches batches = new Batches(count(100), 4, 3);
    IntBuffer inputs = IntBuffer.allocate(4);
    IntBuffer targets = IntBuffer.allocate(4);
    batches.copy(9, inputs, targets);
    int start = (int) batches.start(9);
    assertArrayEquals(new int[] {start, start + 1, start + 2, start + 3}, inputs.array());
    assertArrayEquals(new int[] {start + 1, start + 2, start + 3, start + 4}, targets.array());
  }

  @Test
  void refusesATextShorterThanAWindow() {
    var error = assertThrows(IllegalArgumentException.class, () -> new Batches(count(8), 8, 1));
    assertEquals(
        "the text has 8 tokens; a context of 8 needs at least 9: take more text or a shorter"
            + " context",
        error.getMessage());
  }
}
