package dev.sinter.report;

import dev.sinter.evaluate.Calibration;
import dev.sinter.evaluate.Confusion;
import dev.sinter.evaluate.LabelReport;
import dev.sinter.io.CsvLog;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What one run leaves behind, whatever its task: {@code report.json} in its folder. Counts are kept
 * rather than predictions, so that the file stays small and the scores exact.
 *
 * @param name what the run is called, such as its folder
 * @param task what it did, such as {@code classify} or {@code ppo}
 * @param date when it ended
 * @param settings what it was run with, in the order of the settings' importance
 * @param metrics the numbers that matter, the first most
 * @param curves what changed from step to step
 * @param confusion which label was predicted for which, where there are labels: a tagger's tags, a
 *     classifier's classes
 * @param calibration how far the predictions' probabilities can be believed
 * @param entities scores of entities, where there are any
 * @param samples some inputs and what became of them
 */
public record RunRecord(
    String name,
    String task,
    Instant date,
    Map<String, String> settings,
    List<Metric> metrics,
    List<Curve> curves,
    Optional<Confusion> confusion,
    Optional<Calibration> calibration,
    Optional<LabelReport> entities,
    List<Sample> samples) {

  /** The file's name in the folder of a run. */
  public static final String FILE = "report.json";

  /** More labels than these make no matrix that can be read, and a large file. */
  static final int MOST_LABELS = 1000;

  private static final int MOST_SAMPLES = 100;
  private static final int MOST_CHARACTERS = 4000;

  /** Takes copies. */
  public RunRecord {
    settings = Collections.unmodifiableMap(new LinkedHashMap<>(settings));
    metrics = List.copyOf(metrics);
    curves = List.copyOf(curves);
    samples = List.copyOf(samples);
  }

  /** Which of two values is the better. */
  public enum Better {
    /** As of an accuracy. */
    HIGHER,
    /** As of a loss. */
    LOWER
  }

  /**
   * A number that sums up a run.
   *
   * @param name what it is, such as {@code accuracy}
   * @param value its value; NaN where there is none
   * @param better which value of two runs wins
   */
  public record Metric(String name, double value, Better better) {}

  /**
   * One value at one step.
   *
   * @param step when
   * @param value its value; NaN where it is no number
   */
  public record Point(long step, double value) {}

  /**
   * What changed from step to step.
   *
   * @param name of what, and what: {@code train/loss}; curves whose names end alike behind the
   *     first slash are drawn together
   * @param points by step, each later than the one before
   */
  public record Curve(String name, List<Point> points) {
    /**
     * Checks the steps.
     *
     * @throws IllegalArgumentException where one is not later than the one before
     */
    public Curve {
      points = List.copyOf(points);
      for (int i = 1; i < points.size(); i++) {
        if (points.get(i).step <= points.get(i - 1).step) {
          throw new IllegalArgumentException(
              "curve \""
                  + name
                  + "\" has step "
                  + points.get(i).step
                  + " after step "
                  + points.get(i - 1).step);
        }
      }
    }
  }

  /**
   * An input and what became of it.
   *
   * @param input what the model was given
   * @param gold what is right; empty where nothing is right or wrong, as of generated text
   * @param predicted what the model made of it
   * @param note what else there is to say, such as a probability or a reward; may be empty
   */
  public record Sample(String input, String gold, String predicted, String note) {
    /**
     * Whether the prediction is known to be wrong.
     *
     * @return whether there is a right one and it is another
     */
    public boolean isWrong() {
      return !gold.isEmpty() && !gold.equals(predicted);
    }
  }

  /**
   * Starts a record.
   *
   * @param name what the run is called
   * @param task what it did
   * @param date when it ended
   * @return a builder of the rest, of which nothing is required
   */
  public static Builder of(String name, String task, Instant date) {
    return new Builder(name, task, date);
  }

  /**
   * Reads a record. Of a folder that has no {@code report.json} yet but a {@code metrics.csv}, as a
   * training writes it, it has the curves.
   *
   * @param folder a run's folder, or the file itself
   * @return what it says
   * @throws IOException where there is none; a {@link dev.sinter.io.FormatException} where it is
   *     damaged, of another version, or larger than a record can be
   */
  public static RunRecord read(Path folder) throws IOException {
    return RecordFile.read(folder);
  }

  /**
   * The same run by another name.
   *
   * @param other what it shall be called
   * @return a copy
   */
  public RunRecord named(String other) {
    return new RunRecord(
        other, task, date, settings, metrics, curves, confusion, calibration, entities, samples);
  }

  /**
   * Writes the record, whole or not at all.
   *
   * @param folder the run's folder, created where it is missing; a record in it is replaced
   * @throws IOException where it cannot be written
   */
  public void write(Path folder) throws IOException {
    RecordFile.write(this, folder);
  }

  /** Gathers what a run leaves behind. Not safe for several threads. */
  public static final class Builder {
    private final String name;
    private final String task;
    private final Instant date;
    private final Map<String, String> settings = new LinkedHashMap<>();
    private final List<Metric> metrics = new ArrayList<>();
    private final Map<String, Thinned> curves = new LinkedHashMap<>();
    private final List<Sample> samples = new ArrayList<>();
    private Confusion confusion;
    private Calibration calibration;
    private LabelReport entities;

    private Builder(String name, String task, Instant date) {
      this.name = name;
      this.task = task;
      this.date = date;
    }

    /**
     * Adds a setting, or replaces it.
     *
     * @param setting its name
     * @param value its value, of which the text is kept
     * @return this
     */
    public Builder setting(String setting, Object value) {
      String text = String.valueOf(value);
      boolean isNumber = value instanceof Double || value instanceof Float;
      // 5.0E-5 is 5e-5 to everyone but Java.
      settings.put(
          setting, isNumber ? text.replaceFirst("\\.0(?=E|$)", "").replace('E', 'e') : cut(text));
      return this;
    }

    /**
     * Adds a headline number.
     *
     * @param metric what it is
     * @param value its value
     * @param better which value of two runs wins
     * @return this
     */
    public Builder metric(String metric, double value, Better better) {
      metrics.add(new Metric(metric, value, better));
      return this;
    }

    /**
     * Adds a point to a curve. Of a long curve every second point is dropped, as often as it takes
     * to keep it below 2,000; the last one always stays.
     *
     * @param curve of what, and what: {@code train/loss}
     * @param step when; later than the curve's last
     * @param value its value
     * @return this
     * @throws IllegalArgumentException where the step is not later
     */
    public Builder point(String curve, long step, double value) {
      curves.computeIfAbsent(curve, Thinned::new).add(new Point(step, value));
      return this;
    }

    /**
     * Adds many points to a curve.
     *
     * @param curve of what, and what
     * @param values by step, in the order of the steps
     * @return this
     * @throws IllegalArgumentException where a step is not later than the one before
     */
    public Builder curve(String curve, Map<Long, Double> values) {
      values.forEach((step, value) -> point(curve, step, value));
      return this;
    }

    /**
     * Adds a curve for each column of a log, such as metrics.csv.
     *
     * @param log of which {@code train_loss} becomes {@code train/loss}, {@code validation_loss}
     *     {@code validation/loss}, and {@code gradient_norm} {@code gradient norm}
     * @return this
     * @throws IllegalArgumentException where a step is not later than one that the curve has
     */
    public Builder curves(CsvLog.Table log) {
      log.columns().forEach(column -> curve(MetricsLog.curve(column), log.column(column)));
      return this;
    }

    /**
     * Sets what was predicted for what. Of more than 1,000 labels nothing is kept.
     *
     * @param counts over all predictions
     * @return this
     */
    public Builder confusion(Confusion counts) {
      confusion = counts.labels().size() > MOST_LABELS ? null : counts;
      return this;
    }

    /**
     * Sets how far probabilities can be believed.
     *
     * @param bins over all predictions
     * @return this
     */
    public Builder calibration(Calibration bins) {
      calibration = bins;
      return this;
    }

    /**
     * Counts predictions and their probabilities: {@link #confusion} and {@link #calibration} at
     * once.
     *
     * @param gold the right labels
     * @param predicted one for each
     * @param probabilities what the model gave each of its predictions, from 0 to 1
     * @return this
     * @throws IllegalArgumentException where there are not as many of each, or none, or a
     *     probability is none
     */
    public Builder predictions(List<String> gold, List<String> predicted, double[] probabilities) {
      Confusion counts = Confusion.of(gold, predicted);
      boolean[] correct = new boolean[gold.size()];
      for (int i = 0; i < correct.length; i++) {
        correct[i] = gold.get(i).equals(predicted.get(i));
      }
      return calibration(Calibration.of(probabilities, correct, Calibration.BINS))
          .confusion(counts);
    }

    /**
     * Sets the scores of entities. Of more than 1,000 types nothing is kept.
     *
     * @param report over all sentences
     * @return this
     */
    public Builder entities(LabelReport report) {
      entities = report.counts().size() > MOST_LABELS ? null : report;
      return this;
    }

    /**
     * Adds a sample. The first 100 are kept, and of each text the first 4,000 characters.
     *
     * @param input what the model was given
     * @param gold what is right; empty where nothing is right or wrong
     * @param predicted what the model made of it
     * @param note what else there is to say; may be empty
     * @return this
     */
    public Builder sample(String input, String gold, String predicted, String note) {
      if (samples.size() < MOST_SAMPLES) {
        samples.add(new Sample(cut(input), cut(gold), cut(predicted), cut(note)));
      }
      return this;
    }

    /**
     * Makes the record.
     *
     * @return what was gathered
     */
    public RunRecord build() {
      return new RunRecord(
          name,
          task,
          date,
          settings,
          metrics,
          curves.values().stream().map(Thinned::curve).toList(),
          Optional.ofNullable(confusion),
          Optional.ofNullable(calibration),
          Optional.ofNullable(entities),
          samples);
    }

    private static String cut(String text) {
      return text.length() <= MOST_CHARACTERS ? text : text.substring(0, MOST_CHARACTERS) + "…";
    }
  }

  /** A curve of which ever fewer points are kept as it grows. */
  private static final class Thinned {
    private static final int MOST = 2000;

    private final String name;
    private List<Point> points = new ArrayList<>();
    private Point last;
    private long added;
    private long stride = 1;

    Thinned(String name) {
      this.name = name;
    }

    void add(Point point) {
      if (last != null && point.step <= last.step) {
        throw new IllegalArgumentException(
            "curve \"" + name + "\" has step " + point.step + " after step " + last.step);
      }
      last = point;
      if (added++ % stride != 0) {
        return;
      }
      points.add(point);
      if (points.size() == MOST) {
        List<Point> half = new ArrayList<>();
        for (int i = 0; i < MOST; i += 2) {
          half.add(points.get(i));
        }
        points = half;
        stride *= 2;
      }
    }

    Curve curve() {
      List<Point> all = new ArrayList<>(points);
      if (all.get(all.size() - 1).step != last.step) {
        all.add(last);
      }
      return new Curve(name, all);
    }
  }
}
