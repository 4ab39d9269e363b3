package dev.sinter.search;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.FormatException;
import dev.sinter.search.Rungs.Job;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Consumer;

/**
 * Looks for the options with the best metric. With one worker a search is a pure function of space,
 * method, seed and objective; killed at any moment and run again on its log, it goes on to the same
 * end.
 *
 * <pre>{@code
 * Standings found =
 *     Search.of(Space.read(Path.of("space.json")), new Asha(20, 1, 9, 3), Goal.MAXIMIZE, seed)
 *         .run(Path.of("search.jsonl"), (trial, from, to) -> train(trial.number("lr"), from, to));
 * }</pre>
 */
public final class Search {
  private final Space space;
  private final Method method;
  private final Goal goal;
  private final long seed;
  private Map<String, String> settings = Map.of();
  private int workers = 1;
  private Consumer<Standings> onResult = standings -> {};

  private Search(Space space, Method method, Goal goal, long seed) {
    this.space = space;
    this.method = method;
    this.goal = goal;
    this.seed = seed;
  }

  /**
   * Prepares a search with one worker.
   *
   * @param space that trials are drawn from
   * @param method how many, and how far each is trained
   * @param goal which metric is the better
   * @param seed of the draws
   * @return the search
   */
  public static Search of(Space space, Method method, Goal goal, long seed) {
    return new Search(space, method, goal, seed);
  }

  /**
   * Names what else the results depend on: a log in which it differs is not gone on with.
   *
   * @param values by name
   * @return this
   */
  public Search settings(Map<String, String> values) {
    settings = new TreeMap<>(values);
    return this;
  }

  /**
   * Sets how many trials are trained at once. What is promoted then depends on which is done first.
   *
   * @param count threads; with 1 the objective runs on the caller's
   * @return this
   */
  public Search workers(int count) {
    if (count < 1) {
      throw new IllegalArgumentException("workers " + count + "; 1 or more");
    }
    workers = count;
    return this;
  }

  /**
   * Hears of every result, and once of those that the log brought.
   *
   * @param listener called by one thread at a time
   * @return this
   */
  public Search onResult(Consumer<Standings> listener) {
    onResult = listener;
    return this;
  }

  /**
   * Runs the search, or goes on with it.
   *
   * @param log grows by a line whenever a training begins or ends
   * @param objective trains
   * @return the standings at the end
   * @throws FormatException where the log is of another search, or damaged
   * @throws IOException where the log cannot be written, or the objective says so; what has ended
   *     before is in the log
   */
  public Standings run(Path log, Objective objective) throws IOException {
    try (TrialLog lines = TrialLog.open(log, identity())) {
      Run run = new Run(lines, objective);
      run.replay();
      if (workers == 1) {
        run.work();
      } else {
        runOnThreads(run);
      }
      return run.standings();
    }
  }

  private void runOnThreads(Run run) throws IOException {
    ExecutorService threads = Executors.newFixedThreadPool(workers);
    try {
      List<Future<?>> all = new ArrayList<>();
      for (int i = 0; i < workers; i++) {
        all.add(
            threads.submit(
                () -> {
                  run.work();
                  return null;
                }));
      }
      for (Future<?> one : all) {
        one.get();
      }
    } catch (ExecutionException e) {
      // Its own thread's stack is in the cause; what is thrown has that of the caller.
      if (e.getCause() instanceof IOException io) {
        throw new IOException(io.getMessage(), io);
      }
      if (e.getCause() instanceof Error error) {
        throw error;
      }
      throw (RuntimeException) e.getCause();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("the search was interrupted", e);
    } finally {
      threads.shutdown();
    }
  }

  /** All that decides the trials and their order; their number does not, so it may grow. */
  private ObjectNode identity() {
    ObjectNode json = new ObjectMapper().createObjectNode();
    json.put("method", method instanceof Asha ? "asha" : "random");
    json.put("rungs", method.rungs().toString());
    json.put("reduction", method.reduction());
    json.put("goal", goal.toString());
    json.put("seed", seed);
    json.set("space", space.json());
    ObjectNode rest = json.putObject("settings");
    settings.forEach(rest::put);
    return json;
  }

  /** A search that is under way; all its state is under one lock. */
  private final class Run {
    private final TrialLog log;
    private final Objective objective;
    private final List<Trial> trials = space.draw(method.trials(), seed);
    private final Rungs rungs = new Rungs(method, goal);
    private final Deque<Job> interrupted = new ArrayDeque<>();
    private final List<Outcome> history = new ArrayList<>();
    private int running;
    private boolean failed;

    Run(TrialLog log, Objective objective) {
      this.log = log;
      this.objective = objective;
    }

    /** Takes the log's word for what has been done; what was only begun is to be done first. */
    void replay() throws IOException {
      List<TrialLog.Event> events = log.events();
      for (int i = 0; i < events.size(); i++) {
        if (events.get(i) instanceof TrialLog.Start start) {
          Job job = rungs.next().orElse(null);
          if (!start.job().equals(job) || !start.options().equals(options(job))) {
            throw log.failure(i, "does not follow from the settings and results before it");
          }
          interrupted.add(job);
        } else if (events.get(i) instanceof TrialLog.Result result) {
          Job job =
              interrupted.stream()
                  .filter(one -> one.trial() == result.trial() && one.to() == result.to())
                  .findFirst()
                  .orElse(null);
          if (job == null) {
            throw log.failure(i, "is the result of a training that has not begun");
          }
          interrupted.remove(job);
          record(job, result.metric());
        }
      }
      if (!history.isEmpty()) {
        onResult.accept(standings());
      }
    }

    private Map<String, String> options(Job job) {
      return trials.get(job.trial() - 1).options();
    }

    /** Trains until there is nothing more to train. */
    void work() throws IOException {
      try {
        for (Job job = take(); job != null; job = take()) {
          double metric = objective.run(trials.get(job.trial() - 1), job.from(), job.to());
          done(job, Double.isFinite(metric) ? metric : Double.NaN);
        }
      } catch (IOException | RuntimeException | Error e) {
        giveUp();
        throw e;
      }
    }

    /** The next training; null: there is none, nor will there be. */
    private synchronized Job take() throws IOException {
      while (!failed) {
        Job begun = interrupted.poll();
        if (begun != null) {
          running++;
          return begun;
        }
        Optional<Job> next = rungs.next();
        if (next.isPresent()) {
          log.start(next.get(), trials.get(next.get().trial() - 1));
          running++;
          return next.get();
        }
        if (running == 0) {
          return null;
        }
        try {
          wait();
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IOException("the search was interrupted", e);
        }
      }
      return null;
    }

    private synchronized void done(Job job, double metric) throws IOException {
      log.result(job, metric);
      record(job, metric);
      running--;
      notifyAll();
      onResult.accept(standings());
    }

    private void record(Job job, double metric) {
      rungs.report(job, metric);
      List<Integer> resources = method.rungs();
      boolean last = job.to() == resources.get(resources.size() - 1);
      Outcome.Status status =
          Double.isNaN(metric)
              ? Outcome.Status.FAILED
              : last ? Outcome.Status.FINISHED : Outcome.Status.STOPPED;
      history.add(new Outcome(trials.get(job.trial() - 1), job.to(), metric, status));
    }

    private synchronized void giveUp() {
      failed = true;
      notifyAll();
    }

    synchronized Standings standings() {
      return Standings.of(history, goal);
    }
  }
}
