package dev.sinter.search;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.io.FormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SearchTest {
  private static final Asha ASHA = new Asha(12, 1, 9, 3);

  @TempDir Path folder;
  private Path log;

  @BeforeEach
  void name() {
    log = folder.resolve("search.jsonl");
  }

  private static Space space() {
    Map<String, Choice> choices = new LinkedHashMap<>();
    choices.put("lr", new Choice.LogUniform(1e-4, 1));
    choices.put("decay", new Choice.OneOf(List.of("0", "0.01")));
    return new Space(choices);
  }

  private static Search search(long seed) {
    return Search.of(space(), ASHA, Goal.MINIMIZE, seed);
  }

  private static final class Killed extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  /**
   * Gradient descent on x squared / 2 with a trial's rate, whose state is a file for each rung, as
   * a checkpoint is; the loss is that of x.
   */
  private static final class Descent implements Objective {
    private final Path folder;
    private final List<String> calls = new ArrayList<>();
    private int callsLeft = Integer.MAX_VALUE;
    private boolean killedBefore;

    Descent(Path folder) {
      this.folder = folder;
    }

    @Override
    public double run(Trial trial, int from, int to) throws IOException {
      if (callsLeft == 0 && killedBefore) {
        throw new Killed();
      }
      double x = from == 0 ? 1 : Double.parseDouble(Files.readString(state(trial, from)));
      for (int step = from; step < to; step++) {
        x -= trial.number("lr") * x + trial.number("decay") * x;
      }
      Files.writeString(state(trial, to), Double.toString(x));
      if (callsLeft-- == 0) {
        throw new Killed();
      }
      calls.add(trial.number() + ":" + from + "-" + to);
      return x * x / 2;
    }

    private Path state(Trial trial, int resource) {
      return folder.resolve(trial.number() + "-" + resource);
    }
  }

  @Test
  void aSearchThatIsKilledAnywhereEndsWithTheBitsOfOneThatIsNot() throws IOException {
    Descent whole = new Descent(Files.createDirectory(folder.resolve("whole")));
    Standings expected = search(3).run(log, whole);
    byte[] lines = Files.readAllBytes(log);
    assertTrue(whole.calls.stream().anyMatch(call -> call.endsWith(":3-9")), whole.calls::toString);
    for (int kill = 0; kill < whole.calls.size(); kill++) {
      for (boolean before : new boolean[] {true, false}) {
        Path place = Files.createDirectory(folder.resolve("killed-" + kill + before));
        Path part = place.resolve("search.jsonl");
        Descent first = new Descent(place);
        first.callsLeft = kill;
        first.killedBefore = before;
        assertThrows(Killed.class, () -> search(3).run(part, first));
        Descent second = new Descent(place);
        assertEquals(expected, search(3).run(part, second));
        assertArrayEquals(lines, Files.readAllBytes(part));
        // What was finished is not repeated, and all else comes in the same order.
        assertEquals(whole.calls.subList(0, kill), first.calls);
        assertEquals(whole.calls.subList(kill, whole.calls.size()), second.calls);
      }
    }
  }

  @Test
  void aLogThatIsCutOffAnywhereGivesTheSameSearch() throws IOException {
    Descent whole = new Descent(Files.createDirectory(folder.resolve("whole")));
    Standings expected = search(3).run(log, whole);
    byte[] lines = Files.readAllBytes(log);
    for (int cut = 0; cut <= lines.length; cut += cut < 400 ? 13 : 61) {
      Files.write(log, Arrays.copyOf(lines, cut));
      assertEquals(expected, search(3).run(log, new Descent(whole.folder)), "cut at " + cut);
      assertArrayEquals(lines, Files.readAllBytes(log));
    }
  }

  @Test
  void aFinishedSearchIsReadFromItsLogAndMayBeMadeLonger() throws IOException {
    Descent objective = new Descent(folder);
    Standings ended = search(3).run(log, objective);
    byte[] lines = Files.readAllBytes(log);
    List<Standings> heard = new ArrayList<>();
    Standings again =
        search(3)
            .onResult(heard::add)
            .run(
                log,
                (trial, from, to) -> {
                  throw new AssertionError("nothing is left to be trained");
                });
    assertEquals(ended, again);
    assertEquals(List.of(ended), heard);
    assertArrayEquals(lines, Files.readAllBytes(log));

    Search longer = Search.of(space(), new Asha(30, 1, 9, 3), Goal.MINIMIZE, 3);
    Standings grown = longer.run(log, objective);
    assertEquals(30, grown.ranking().size());
    assertEquals(ended.history(), grown.history().subList(0, ended.history().size()));
  }

  @Test
  void theRankingHasTheBestFirstAndFailedTrialsLast() throws IOException {
    List<Standings> heard = new ArrayList<>();
    Standings found =
        Search.of(space(), ASHA, Goal.MAXIMIZE, 3)
            .onResult(heard::add)
            .run(
                log,
                (trial, from, to) ->
                    trial.number() % 3 == 0
                        ? trial.number() % 2 == 0 ? Double.NaN : Double.POSITIVE_INFINITY
                        : trial.number() / 2.0 + 0.25 * (to - 1));
    // The multiples of three fail.
    Outcome best = found.best().orElseThrow();
    assertEquals(found.ranking().get(0), best);
    assertEquals(9, best.resource());
    assertEquals(Outcome.Status.FINISHED, best.status());
    assertEquals(12, found.ranking().size());
    assertEquals(
        Set.of(3, 6, 9, 12),
        new TreeSet<>(
            found.ranking().subList(8, 12).stream().map(o -> o.trial().number()).toList()));
    for (int i = 0; i < 12; i++) {
      Outcome outcome = found.ranking().get(i);
      assertEquals(i >= 8, outcome.status() == Outcome.Status.FAILED);
      assertTrue(i == 0 || i >= 8 || outcome.metric() <= found.ranking().get(i - 1).metric());
    }
    assertEquals(found.history().size(), heard.size());
    assertEquals(found, heard.get(heard.size() - 1));
    // They are failures in the log as well.
    assertEquals(found, Search.of(space(), ASHA, Goal.MAXIMIZE, 3).run(log, (t, f, to) -> 1));
  }

  @Test
  void aTrialIsRankedByItsBestResultWhateverComesOfMoreTraining() throws IOException {
    Standings found =
        Search.of(space(), new Asha(4, 1, 2, 2), Goal.MAXIMIZE, 1)
            .run(
                log,
                (trial, from, to) -> {
                  if (to == 1) {
                    return trial.number() == 3 ? 5 : trial.number();
                  }
                  return trial.number() == 3 ? Double.NaN : trial.number();
                });
    // 2 is promoted among two, 3 among three (5) and fails, 4 among four.
    List<Outcome> expected =
        List.of(
            new Outcome(trial(3), 1, 5, Outcome.Status.FAILED),
            new Outcome(trial(4), 2, 4, Outcome.Status.FINISHED),
            new Outcome(trial(2), 2, 2, Outcome.Status.FINISHED),
            new Outcome(trial(1), 1, 1, Outcome.Status.STOPPED));
    assertEquals(expected, found.ranking());
    assertEquals(expected.get(0), found.best().orElseThrow());
    assertEquals(7, found.history().size());
  }

  private static Trial trial(int number) {
    return space().draw(number, 1).get(number - 1);
  }

  @Test
  void randomSearchTrainsEveryTrialOnceToTheEnd() throws IOException {
    List<String> calls = new ArrayList<>();
    Standings found =
        Search.of(space(), new RandomSearch(5, 4), Goal.MAXIMIZE, 1)
            .run(
                log,
                (trial, from, to) -> {
                  calls.add(trial.number() + ":" + from + "-" + to);
                  return Double.NaN;
                });
    assertEquals(List.of("1:0-4", "2:0-4", "3:0-4", "4:0-4", "5:0-4"), calls);
    assertTrue(found.best().isEmpty());
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 5})
  void severalWorkersTrainEachTrialOnceARungAndAtTheSameTime(int workers) throws Exception {
    CountDownLatch together = new CountDownLatch(workers);
    Map<String, Integer> calls = new TreeMap<>();
    Standings found =
        search(3)
            .workers(workers)
            .run(
                log,
                (trial, from, to) -> {
                  together.countDown();
                  try {
                    assertTrue(together.await(60, TimeUnit.SECONDS), "they run one by one");
                  } catch (InterruptedException e) {
                    throw new IOException(e);
                  }
                  synchronized (calls) {
                    calls.merge(trial.number() + ":" + from + "-" + to, 1, Integer::sum);
                  }
                  return trial.number("lr") / to;
                });
    assertEquals(Set.of(1), Set.copyOf(calls.values()));
    assertEquals(12, found.ranking().size());
    assertEquals(found.history().size(), calls.size());
    // The log of several workers replays as well, whatever the order was.
    assertEquals(found, search(3).run(log, (t, f, to) -> Double.NaN));
  }

  @Test
  void aFailureOfOneWorkerEndsTheSearchAndKeepsWhatIsDone() throws IOException {
    IOException cause = new IOException("the disk is full");
    Objective fails =
        (trial, from, to) -> {
          if (trial.number() == 6) {
            throw cause;
          }
          return trial.number("lr");
        };
    IOException e = assertThrows(IOException.class, () -> search(3).workers(3).run(log, fails));
    assertEquals("the disk is full", e.getMessage());
    assertSame(cause, e.getCause());
    assertSame(cause, assertThrows(IOException.class, () -> search(3).run(log, fails)));
    long done = Files.readAllLines(log).stream().filter(line -> line.contains("result")).count();
    Standings found = search(3).run(log, (trial, from, to) -> trial.number("lr"));
    assertTrue(found.history().size() > done);
    assertEquals(12, found.ranking().size());
  }

  @Test
  void aLogOfAnotherSearchIsRefusedAndLeftAlone() throws IOException {
    Map<String, String> data = Map.of("train", "a.csv");
    search(3).settings(data).run(log, new Descent(folder));
    byte[] lines = Files.readAllBytes(log);
    Map<Search, String> others = new LinkedHashMap<>();
    others.put(search(4).settings(data), "seed is 3 there, 4 here");
    others.put(
        search(3).settings(Map.of("train", "b.csv")),
        "settings.train is \"a.csv\" there, \"b.csv\" here");
    others.put(
        Search.of(space(), new RandomSearch(12, 9), Goal.MINIMIZE, 3).settings(data),
        "method is \"asha\" there, \"random\" here");
    others.put(
        Search.of(space(), ASHA, Goal.MAXIMIZE, 3).settings(data), "goal is \"MINIMIZE\" there");
    others.put(
        Search.of(new Space(Map.of("lr", Choice.OneOf.constant("1"))), ASHA, Goal.MINIMIZE, 3)
            .settings(data),
        "space.lr is {\"log_uniform\":[1.0E-4,1.0]} there, [\"1\"] here");
    for (Map.Entry<Search, String> other : others.entrySet()) {
      FormatException e =
          assertThrows(
              FormatException.class, () -> other.getKey().run(log, (t, f, to) -> Double.NaN));
      assertTrue(e.getMessage().startsWith(log + ": is of another search: "), e::getMessage);
      assertTrue(e.getMessage().contains(other.getValue()), e::getMessage);
      assertArrayEquals(lines, Files.readAllBytes(log));
    }
  }

  @Test
  void aDamagedLogIsRefusedWithItsLineAndLeftAlone() throws IOException {
    search(3).run(log, new Descent(folder));
    List<String> lines = Files.readAllLines(log);
    Map<String, String> damages = new LinkedHashMap<>();
    damages.put("{\"result\":{\"trial\":1,", "line 3: is damaged");
    damages.put("", "line 3: is no line of a search's log");
    damages.put("\u0000\ufffd", "line 3: is damaged");
    damages.put("[]", "line 3: is no line of a search's log");
    damages.put("{\"other\":{}}", "line 3: is no line of a search's log");
    damages.put("{\"result\":{\"trial\":1,\"to\":1}}", "line 3: has no metric");
    damages.put(
        "{\"result\":{\"trial\":1.5,\"to\":1,\"metric\":1}}", "line 3: has no whole number");
    damages.put("{\"result\":{\"to\":1,\"metric\":1}}", "line 3: has no whole number trial");
    damages.put(
        "{\"result\":{\"trial\":2,\"to\":1,\"metric\":1}}",
        "line 3: is the result of a training that has not begun");
    damages.put(lines.get(1), "line 3: does not follow");
    for (Map.Entry<String, String> damage : damages.entrySet()) {
      List<String> changed = new ArrayList<>(lines);
      changed.set(2, damage.getKey());
      byte[] bytes = Files.readAllBytes(Files.write(log, changed));
      FormatException e =
          assertThrows(FormatException.class, () -> search(3).run(log, (t, f, to) -> Double.NaN));
      assertTrue(e.getMessage().startsWith(log + ": " + damage.getValue()), e::getMessage);
      assertArrayEquals(bytes, Files.readAllBytes(log));
    }
    Files.writeString(log, "step,loss\n1,2\n");
    assertTrue(
        assertThrows(FormatException.class, () -> search(3).run(log, (t, f, to) -> 1))
            .getMessage()
            .contains("line 1: is damaged"));
  }

  @Test
  void workersAreAtLeastOne() {
    assertThrows(IllegalArgumentException.class, () -> search(1).workers(0));
    assertFalse(Files.exists(log));
  }
}
