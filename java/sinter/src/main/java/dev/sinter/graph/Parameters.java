package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_adamw_step;
import dev.sinter.natives.sn_random_key;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * All weights of a model in one flat array, with equal arrays beside it for gradients and moments
 * where it trains: the norm and the update are one pass each. Weights that train in bf16 have an
 * fp32 master copy.
 */
public final class Parameters extends Weights {
  /**
   * Weight decay is switched on and off for blocks of this many elements, so each tensor starts at
   * a multiple.
   */
  private static final long BLOCK = 256;

  private static final int STAGING = 1 << 20;

  /** The number of a step, int64, and behind it its learning rate, fp32. */
  private static final int SCHEDULE_BYTES = 16;

  private final Device device;
  private final DType dtype;
  private final Stream stream;
  private final Map<String, Long> offsets = new LinkedHashMap<>();
  private final Map<String, Slice> slices = new LinkedHashMap<>();
  private final Map<Tensor, Tensor> gradients = new IdentityHashMap<>();
  private final Map<String, Run> trained = new HashMap<>();
  private final List<Run> runs = new ArrayList<>();
  private final long size;
  private long trainedSize;
  private final Memory weights;
  private final Memory staging;
  private final HostBuffer hostStaging;
  private final sn_adamw_step adamw = new sn_adamw_step();
  private final sn_adamw_step queuedAdamw = new sn_adamw_step();
  private double flops;
  private AdamW queuedSettings;
  private int queuedVersion;
  private Memory master;
  private Memory gradient;
  private Memory firstMoment;
  private Memory secondMoment;
  private Memory decayMask;
  private Memory norm;
  private Memory normWorkspace;
  private Memory schedule;
  private Mirror normMirror;
  private Mirror scheduleMirror;

  /**
   * Elements under a name of their own.
   *
   * @param within their place in the parameter
   */
  private record Slice(ParameterSpec of, long offset, long within, long elements) {}

  /** Trained parameters that lie one after the other and have one learning rate. */
  private static final class Run {
    /** Where they stand among the weights, and in gradients, moments and master copies. */
    final long weight;

    final long offset;
    long elements;
    float rate = 1;

    Run(long weight, long offset) {
      this.weight = weight;
      this.offset = offset;
    }
  }

  /**
   * Allocates zeroed weights.
   *
   * @param device where
   * @param dtype in which operations read them
   * @param specs of all tensors, in the order of the model
   * @throws DeviceMemoryException where they do not fit
   */
  public Parameters(Device device, DType dtype, List<ParameterSpec> specs) {
    this(device, dtype, specs, null);
  }

  /** Zeroed weights that graphs read together with others, on the others' device and queue. */
  static Parameters beside(Weights others, List<ParameterSpec> specs) {
    return new Parameters(others.device(), others.dtype(), specs, others.stream());
  }

  private Parameters(Device device, DType dtype, List<ParameterSpec> specs, Stream shared) {
    super(device, dtype, specs, shared);
    this.device = device;
    this.dtype = dtype;
    this.stream = stream();
    long end = 0;
    for (ParameterSpec spec : specs) {
      offsets.put(spec.name(), end);
      long each = spec.elements() / spec.parts().size();
      for (int i = 0; i < spec.parts().size(); i++) {
        slices.put(spec.parts().get(i), new Slice(spec, end + i * each, i * each, each));
      }
      end = Math.addExact(end, padded(spec));
    }
    size = end;
    weights = new Memory(device, Math.multiplyExact(size, (long) dtype.bytes()));
    staging = new Memory(device, 4L * STAGING);
    hostStaging = new HostBuffer(device, 4L * STAGING);
    for (ParameterSpec spec : specs) {
      Pointer at = weights.at(offsets.get(spec.name()) * dtype.bytes());
      put(Tensor.resident(spec.name(), dtype, at, spec.shape()));
    }
  }

  private static long padded(ParameterSpec spec) {
    return (spec.elements() + BLOCK - 1) / BLOCK * BLOCK;
  }

  @Override
  Parameters trained() {
    return this;
  }

  /** Whether this is a parameter of these that is trained. */
  boolean trains(Tensor parameter) {
    return trained.containsKey(parameter.name()) && get(parameter.name()) == parameter;
  }

  /** The fp32 gradient of a parameter. */
  Tensor gradient(Tensor parameter) {
    requireTraining();
    return gradients.computeIfAbsent(
        parameter,
        key ->
            Tensor.resident(
                "d " + key.name(),
                DType.F32,
                gradient.at(4 * trainedOffset(key.name())),
                key.shape()));
  }

  /** Where a trained parameter stands in gradients, moments and master copies. */
  private long trainedOffset(String name) {
    Run run = trained.get(name);
    if (run == null) {
      throw new IllegalArgumentException("parameter " + name + " is not trained");
    }
    return run.offset + offsets.get(name) - run.weight;
  }

  /**
   * Counts the elements of all parameters that are no tables of constants.
   *
   * @return the sum over the tensors
   */
  public long count() {
    return specs().stream().filter(ParameterSpec::trains).mapToLong(ParameterSpec::elements).sum();
  }

  /**
   * Counts the elements of all parameters that an update changes.
   *
   * @return 0 before {@link #enableTraining}
   */
  public long trainedCount() {
    return specs().stream()
        .filter(spec -> trained.containsKey(spec.name()))
        .mapToLong(ParameterSpec::elements)
        .sum();
  }

  /**
   * Allocates gradients and moments of all parameters, unless they are there for all or for some.
   */
  public void enableTraining() {
    if (gradient == null) {
      enableTraining(name -> true);
    }
  }

  /**
   * Allocates gradients and moments of some parameters; the others are frozen and cost nothing.
   *
   * @param which whether the parameter of this name is trained; tables of constants never are
   * @throws IllegalArgumentException where none is
   * @throws IllegalStateException where that has been done
   */
  public void enableTraining(Predicate<String> which) {
    if (gradient != null) {
      throw new IllegalStateException("which parameters train has been said before");
    }
    Run last = null;
    for (ParameterSpec spec : specs()) {
      if (!spec.trains() || !which.test(spec.name())) {
        continue;
      }
      long weight = offsets.get(spec.name());
      if (last == null || last.weight + last.elements != weight) {
        last = new Run(weight, trainedSize);
        runs.add(last);
      }
      last.elements += padded(spec);
      trainedSize += padded(spec);
      trained.put(spec.name(), last);
    }
    if (last == null) {
      throw new IllegalArgumentException("no parameter is left to train");
    }
    allocateTraining();
  }

  private void allocateTraining() {
    long bytes = 4 * trainedSize;
    if (dtype != DType.F32) {
      master = new Memory(device, bytes);
      for (Run run : runs) {
        Natives.check(
            sinter.sn_cast(
                stream.handle(),
                run.elements,
                dtype.code(),
                weights.at(run.weight * dtype.bytes()),
                DType.F32.code(),
                master.at(4 * run.offset)));
      }
    }
    gradient = new Memory(device, bytes);
    firstMoment = new Memory(device, bytes);
    secondMoment = new Memory(device, bytes);
    norm = new Memory(device, 4);
    normMirror = new Mirror(device, Tensor.resident("norm", DType.F32, norm.at(0), 1));
    schedule = new Memory(device, SCHEDULE_BYTES);
    scheduleMirror =
        new Mirror(
            device,
            Tensor.resident("schedule", DType.I32, schedule.at(0), SCHEDULE_BYTES / Integer.BYTES));
    queuedAdamw.clock(new LongPointer(schedule.at(0))).rate(schedule.at(Long.BYTES));
    normWorkspace = new Memory(device, Loss.Sum.workspace(device, trainedSize));
    decayMask = new Memory(device, trainedSize / BLOCK);
    HostBuffer mask = new HostBuffer(device, trainedSize / BLOCK);
    for (ParameterSpec spec : specs()) {
      if (trained.containsKey(spec.name())) {
        int from = Math.toIntExact(trainedOffset(spec.name()) / BLOCK);
        int blocks = Math.toIntExact(padded(spec) / BLOCK);
        for (int i = 0; i < blocks; i++) {
          mask.bytes().put(from + i, (byte) (spec.decays() ? 1 : 0));
        }
      }
    }
    stream.write(decayMask.at(0), mask, mask.size());
  }

  /**
   * Gives parameters learning rates of their own.
   *
   * @param factor by name: what the rate of an update is multiplied by, and weight decay with it
   * @throws IllegalArgumentException for a factor that is negative or not finite
   */
  public void learningRates(ToDoubleFunction<String> factor) {
    requireTraining();
    queuedVersion++;
    runs.clear();
    Run last = null;
    for (ParameterSpec spec : specs()) {
      if (!trained.containsKey(spec.name())) {
        continue;
      }
      double rate = factor.applyAsDouble(spec.name());
      if (!(rate >= 0) || Double.isInfinite(rate)) {
        throw new IllegalArgumentException(
            "learning rate factor " + rate + " of " + spec.name() + "; 0 or more");
      }
      long weight = offsets.get(spec.name());
      long offset = trainedOffset(spec.name());
      if (last == null || last.weight + last.elements != weight || last.rate != (float) rate) {
        last = new Run(weight, offset);
        last.rate = (float) rate;
        runs.add(last);
      }
      last.elements += padded(spec);
      trained.put(spec.name(), last);
    }
  }

  private void requireTraining() {
    if (gradient == null) {
      throw new IllegalStateException("enableTraining() comes before gradients and updates");
    }
  }

  /**
   * Draws all weights anew.
   *
   * @param seed equal seeds give equal weights, on any device
   */
  public void initialize(long seed) {
    long number = 0;
    for (ParameterSpec spec : specs()) {
      if (!spec.trains()) {
        fill(spec);
        continue;
      }
      long offset = offsets.get(spec.name());
      sn_random_key key = new sn_random_key().seed(seed).step(0).tensor(number++);
      for (long done = 0; done < spec.elements(); done += STAGING) {
        long count = Math.min(STAGING, spec.elements() - done);
        Pointer precise = precise(spec, done);
        Pointer target = precise == null ? staging.at(0) : precise;
        key.step(done / STAGING);
        Natives.check(
            sinter.sn_random_normal(
                stream.handle(), count, spec.mean(), spec.deviation(), key, target));
        round(target, offset + done, count);
      }
    }
  }

  private void fill(ParameterSpec spec) {
    long columns = spec.shape()[1];
    long[] next = {0};
    try {
      write(
          Part.WEIGHT,
          spec.parts().get(0),
          values -> {
            while (values.hasRemaining()) {
              values.put((float) spec.table().at(next[0] / columns, next[0] % columns));
              next[0]++;
            }
          });
    } catch (IOException e) {
      throw new UncheckedIOException(e); // a table reads nothing
    }
  }

  /** Rounds fp32 elements into the weights that operations read, where those are not the same. */
  private void round(Pointer from, long element, long count) {
    if (dtype != DType.F32) {
      Natives.check(
          sinter.sn_cast(
              stream.handle(),
              count,
              DType.F32.code(),
              from,
              dtype.code(),
              weights.at(element * dtype.bytes())));
    }
  }

  /** The fp32 weights of a parameter: themselves, their master copy, or null. */
  private Pointer precise(ParameterSpec spec, long within) {
    if (dtype == DType.F32) {
      return weights.at(4 * (offsets.get(spec.name()) + within));
    }
    return trained.containsKey(spec.name())
        ? master.at(4 * (trainedOffset(spec.name()) + within))
        : null;
  }

  /** Which of the arrays that a training state consists of. */
  public enum Part {
    /** The weights, in fp32 where there is a master copy. */
    WEIGHT,
    /** The gradients of the last step. */
    GRADIENT,
    /** AdamW's running mean of gradients. */
    FIRST_MOMENT,
    /** AdamW's running mean of squared gradients. */
    SECOND_MOMENT
  }

  /** Where fp32 elements are; null: only the rounded weights are there. */
  private Pointer at(Part part, ParameterSpec spec, long within) {
    if (part == Part.WEIGHT) {
      return precise(spec, within);
    }
    requireTraining();
    Memory memory =
        switch (part) {
          case WEIGHT -> throw new AssertionError(part);
          case GRADIENT -> gradient;
          case FIRST_MOMENT -> firstMoment;
          case SECOND_MOMENT -> secondMoment;
        };
    return memory.at(4 * (trainedOffset(spec.name()) + within));
  }

  /** Takes a tensor's elements piece by piece. */
  @FunctionalInterface
  public interface Sink {
    /**
     * Takes the next elements.
     *
     * @param elements valid during the call
     * @throws IOException as it likes
     */
    void accept(FloatBuffer elements) throws IOException;
  }

  /** Gives a tensor's elements piece by piece. */
  @FunctionalInterface
  public interface Source {
    /**
     * Fills the next elements.
     *
     * @param elements to be filled to its limit
     * @throws IOException as it likes
     */
    void fill(FloatBuffer elements) throws IOException;
  }

  private Slice slice(String name) {
    Slice slice = slices.get(name);
    if (slice == null) {
      throw new IllegalArgumentException("the model has no parameter " + name);
    }
    return slice;
  }

  /**
   * Counts the bytes of weights, master copies, gradients and moments.
   *
   * @return those that are allocated now
   */
  public long bytes() {
    long sum = 0;
    for (Memory memory : new Memory[] {weights, master, gradient, firstMoment, secondMoment}) {
      sum += memory == null ? 0 : memory.bytes();
    }
    return sum;
  }

  /**
   * Whether gradients and moments are there for a parameter.
   *
   * @param name of the parameter
   * @return false before {@link #enableTraining}, and of what is frozen
   */
  public boolean isTrained(String name) {
    return trained.containsKey(name);
  }

  /**
   * Reads a tensor, widened to fp32.
   *
   * @param part which array
   * @param name of the parameter, or of one of its parts
   * @param sink takes the elements in order
   * @throws IOException from the sink
   */
  public void read(Part part, String name, Sink sink) throws IOException {
    Slice slice = slice(name);
    long offset = slice.offset;
    long elements = slice.elements;
    for (long done = 0; done < elements; done += STAGING) {
      int count = (int) Math.min(STAGING, elements - done);
      Pointer source = at(part, slice.of, slice.within + done);
      if (source == null) {
        source = staging.at(0);
        Natives.check(
            sinter.sn_cast(
                stream.handle(),
                count,
                dtype.code(),
                weights.at((offset + done) * dtype.bytes()),
                DType.F32.code(),
                source));
      }
      stream.read(source, hostStaging, 4L * count);
      sink.accept(hostStaging.floats().limit(count));
    }
  }

  /**
   * Writes a tensor.
   *
   * @param part which array
   * @param name of the parameter, or of one of its parts
   * @param source gives the elements in order
   * @throws IOException from the source
   */
  public void write(Part part, String name, Source source) throws IOException {
    Slice slice = slice(name);
    long offset = slice.offset;
    long elements = slice.elements;
    for (long done = 0; done < elements; done += STAGING) {
      int count = (int) Math.min(STAGING, elements - done);
      source.fill(hostStaging.floats().limit(count));
      Pointer precise = at(part, slice.of, slice.within + done);
      Pointer target = precise == null ? staging.at(0) : precise;
      stream.write(target, hostStaging, 4L * count);
      if (part == Part.WEIGHT) {
        round(target, offset + done, count);
      }
    }
  }

  /**
   * Reads a tensor at once, widened to fp32: for those that are small.
   *
   * @param part which array
   * @param name of the parameter, or of one of its parts
   * @return its elements
   */
  public float[] read(Part part, String name) {
    float[] all = new float[Math.toIntExact(slice(name).elements)];
    FloatBuffer to = FloatBuffer.wrap(all);
    try {
      read(part, name, to::put);
    } catch (IOException e) {
      throw new UncheckedIOException(e); // a buffer writes nothing
    }
    return all;
  }

  /**
   * Writes a tensor at once.
   *
   * @param part which array
   * @param name of the parameter, or of one of its parts
   * @param elements all of them
   * @throws IllegalArgumentException for more or fewer
   */
  public void write(Part part, String name, float[] elements) {
    if (elements.length != slice(name).elements) {
      throw new IllegalArgumentException(
          name + ": " + elements.length + " elements of " + slice(name).elements);
    }
    int[] at = {0};
    try {
      write(
          part,
          name,
          to -> {
            int count = to.remaining();
            to.put(elements, at[0], count);
            at[0] += count;
          });
    } catch (IOException e) {
      throw new UncheckedIOException(e); // an array reads nothing
    }
  }

  /**
   * Computes the norm of all gradients together; {@link #update} clips by it.
   *
   * @return the square root of the sum of squares; not finite where a gradient is not
   */
  public float gradientNorm() {
    requireTraining();
    queueNorm();
    stream.read(norm.at(0), normMirror.host(), 4);
    return normMirror.host().floats().get(0);
  }

  /**
   * Returns the norm that {@link #gradientNorm} or a run with an {@link Update} computed last.
   *
   * @return the square root of the sum of squares; not finite where a gradient is not
   */
  public float lastNorm() {
    requireTraining();
    stream.settle();
    return normMirror.host().floats().get(0);
  }

  /**
   * AdamW's settings for one step.
   *
   * @param learningRate of this step
   * @param beta1 decay of the first moment
   * @param beta2 decay of the second moment
   * @param epsilon added to the root of the second moment
   * @param weightDecay decoupled, for matrices and tables
   * @param clip the most that the gradients' norm may be; 0: no limit
   */
  public record AdamW(
      float learningRate, float beta1, float beta2, float epsilon, float weightDecay, float clip) {}

  /**
   * What the last run of a step ends with, within its recording: the norm of all gradients, and the
   * update of all trained weights from them. Where loss or norm is not finite, the weights stay as
   * they were.
   */
  public static final class Update {
    private final AdamW settings;
    private final long step;
    private boolean taken;

    /**
     * Describes an update.
     *
     * @param settings of the optimizer
     * @param step from 1
     */
    public Update(AdamW settings, long step) {
      this.settings = settings;
      this.step = step;
    }

    /**
     * Whether a run has ended with it: if none has, the update is the caller's.
     *
     * @return true after {@link Graph#run(long, boolean, Update, Tensor)}
     */
    public boolean taken() {
      return taken;
    }
  }

  /** Makes an update what {@link #queueUpdate} queues; nothing may be under way. */
  void prepare(Update update, Tensor loss) {
    requireTraining();
    update.taken = true;
    AdamW now = update.settings;
    scheduleMirror.host().bytes().putLong(0, update.step).putFloat(Long.BYTES, now.learningRate);
    boolean same =
        queuedSettings != null
            && now.beta1 == queuedSettings.beta1
            && now.beta2 == queuedSettings.beta2
            && now.epsilon == queuedSettings.epsilon
            && now.weightDecay == queuedSettings.weightDecay
            && now.clip == queuedSettings.clip;
    if (!same) {
      queuedSettings = now;
      queuedVersion++;
      fill(queuedAdamw, now, 0);
    }
    queuedAdamw.loss(loss.address());
  }

  /** Changes with what a recording of {@link #queueUpdate} keeps. */
  int updateVersion() {
    return queuedVersion;
  }

  /** Counts a run of a graph that trains these. */
  void count(double more) {
    flops += more;
  }

  /**
   * Counts the arithmetic of all runs of graphs that train these parameters, as {@link
   * Graph#flops()} does.
   *
   * @return floating-point operations since the parameters were made
   */
  public double flops() {
    return flops;
  }

  /** Queues the norm and the update that was prepared last. */
  void queueUpdate() {
    Natives.check(scheduleMirror.upload(stream.handle()));
    queueNorm();
    queueAdamW(queuedAdamw, 1);
    Natives.check(normMirror.download(stream.handle()));
  }

  private void queueNorm() {
    Natives.check(
        sinter.sn_global_norm(
            stream.handle(), trainedSize, gradient.at(0), norm.at(0), normWorkspace.at(0)));
  }

  private static void fill(sn_adamw_step to, AdamW settings, long step) {
    to.beta1(settings.beta1)
        .beta2(settings.beta2)
        .epsilon(settings.epsilon)
        .weight_decay(settings.weightDecay)
        .clip(settings.clip)
        .step(step)
        .seed(0);
  }

  /**
   * Updates all trained weights from their gradients, after {@link #gradientNorm}.
   *
   * @param settings of the optimizer
   * @param step from 1
   */
  public void update(AdamW settings, long step) {
    requireTraining();
    fill(adamw, settings, step);
    queueAdamW(adamw, settings.learningRate);
  }

  private void queueAdamW(sn_adamw_step how, float learningRate) {
    for (int i = 0; i < runs.size(); i++) { // an iterator would be an allocation
      Run run = runs.get(i);
      Pointer rounded = weights.at(run.weight * dtype.bytes());
      long bytes = 4 * run.offset;
      Natives.check(
          sinter.sn_adamw(
              stream.handle(),
              how.learning_rate(learningRate * run.rate),
              run.elements,
              gradient.at(bytes),
              norm.at(0),
              decayMask.at(run.offset / BLOCK),
              dtype == DType.F32 ? rounded : master.at(bytes),
              firstMoment.at(bytes),
              secondMoment.at(bytes),
              0,
              dtype == DType.F32 ? null : rounded));
    }
  }

  @Override
  public void close() {
    super.close();
    for (Memory memory :
        new Memory[] {
          weights,
          staging,
          master,
          gradient,
          firstMoment,
          secondMoment,
          decayMask,
          norm,
          normWorkspace,
          schedule
        }) {
      if (memory != null) {
        memory.close();
      }
    }
  }
}
