package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_adamw_step;
import dev.sinter.natives.sn_random_key;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.FloatBuffer;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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

  private final Device device;
  private final DType dtype;
  private final Stream stream;
  private final Map<String, Long> offsets = new LinkedHashMap<>();
  private final Map<String, Slice> slices = new LinkedHashMap<>();
  private final Map<Tensor, Tensor> gradients = new IdentityHashMap<>();
  private final long size;
  private final Memory weights;
  private final Memory staging;
  private final HostBuffer hostStaging;
  private final sn_adamw_step adamw = new sn_adamw_step();
  private Memory master;
  private Memory gradient;
  private Memory firstMoment;
  private Memory secondMoment;
  private Memory decayMask;
  private Memory norm;
  private Memory normWorkspace;

  /** Elements under a name of their own. */
  private record Slice(long offset, long elements) {}

  /**
   * Allocates zeroed weights.
   *
   * @param device where
   * @param dtype in which operations read them
   * @param specs of all tensors, in the order of the model
   * @throws DeviceMemoryException where they do not fit
   */
  public Parameters(Device device, DType dtype, List<ParameterSpec> specs) {
    super(device, dtype, specs);
    this.device = device;
    this.dtype = dtype;
    this.stream = stream();
    long end = 0;
    for (ParameterSpec spec : specs) {
      offsets.put(spec.name(), end);
      long each = spec.elements() / spec.parts().size();
      for (int i = 0; i < spec.parts().size(); i++) {
        slices.put(spec.parts().get(i), new Slice(end + i * each, each));
      }
      end = Math.addExact(end, (spec.elements() + BLOCK - 1) / BLOCK * BLOCK);
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

  /** Whether a parameter is trained. */
  boolean trains(Tensor parameter) {
    return spec(parameter.name()).trains();
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
                gradient.at(4 * offsets.get(key.name())),
                key.shape()));
  }

  /**
   * Counts the elements of all parameters that are trained.
   *
   * @return the sum over the tensors
   */
  public long count() {
    return specs().stream().filter(ParameterSpec::trains).mapToLong(ParameterSpec::elements).sum();
  }

  /** Allocates gradients and moments, unless that has been done. */
  public void enableTraining() {
    if (gradient != null) {
      return;
    }
    long bytes = 4 * size;
    if (dtype != DType.F32) {
      master = new Memory(device, bytes);
      Natives.check(
          sinter.sn_cast(
              stream.handle(), size, dtype.code(), weights.at(0), DType.F32.code(), master.at(0)));
    }
    gradient = new Memory(device, bytes);
    firstMoment = new Memory(device, bytes);
    secondMoment = new Memory(device, bytes);
    norm = new Memory(device, 4);
    normWorkspace = new Memory(device, Loss.Sum.workspace(device, size));
    decayMask = new Memory(device, size / BLOCK);
    HostBuffer mask = new HostBuffer(device, size / BLOCK);
    for (ParameterSpec spec : specs()) {
      int from = Math.toIntExact(offsets.get(spec.name()) / BLOCK);
      int blocks = Math.toIntExact((spec.elements() + BLOCK - 1) / BLOCK);
      for (int i = 0; i < blocks; i++) {
        mask.bytes().put(from + i, (byte) (spec.decays() ? 1 : 0));
      }
    }
    stream.write(decayMask.at(0), mask, mask.size());
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
        Pointer target = master() == null ? staging.at(0) : master().at(4 * (offset + done));
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

  /** The fp32 weights: the weights themselves, their master copy, or null. */
  private Memory master() {
    return dtype == DType.F32 ? weights : master;
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

  private Memory memory(Part part) {
    if (part != Part.WEIGHT) {
      requireTraining();
    }
    return switch (part) {
      case WEIGHT -> master();
      case GRADIENT -> gradient;
      case FIRST_MOMENT -> firstMoment;
      case SECOND_MOMENT -> secondMoment;
    };
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
    Memory from = memory(part);
    for (long done = 0; done < elements; done += STAGING) {
      int count = (int) Math.min(STAGING, elements - done);
      Pointer source;
      if (from != null) {
        source = from.at(4 * (offset + done));
      } else {
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
    Memory to = memory(part);
    for (long done = 0; done < elements; done += STAGING) {
      int count = (int) Math.min(STAGING, elements - done);
      source.fill(hostStaging.floats().limit(count));
      Pointer target = to == null ? staging.at(0) : to.at(4 * (offset + done));
      stream.write(target, hostStaging, 4L * count);
      if (part == Part.WEIGHT) {
        round(target, offset + done, count);
      }
    }
  }

  /**
   * Computes the norm of all gradients together; {@link #update} clips by it.
   *
   * @return the square root of the sum of squares; not finite where a gradient is not
   */
  public float gradientNorm() {
    requireTraining();
    Natives.check(
        sinter.sn_global_norm(
            stream.handle(), size, gradient.at(0), norm.at(0), normWorkspace.at(0)));
    stream.read(norm.at(0), hostStaging, 4);
    return hostStaging.floats().get(0);
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
   * Updates all weights from their gradients, after {@link #gradientNorm}.
   *
   * @param settings of the optimizer
   * @param step from 1
   */
  public void update(AdamW settings, long step) {
    requireTraining();
    adamw
        .learning_rate(settings.learningRate)
        .beta1(settings.beta1)
        .beta2(settings.beta2)
        .epsilon(settings.epsilon)
        .weight_decay(settings.weightDecay)
        .clip(settings.clip)
        .step(step)
        .seed(0);
    Natives.check(
        sinter.sn_adamw(
            stream.handle(),
            adamw,
            size,
            gradient.at(0),
            norm.at(0),
            decayMask.at(0),
            master().at(0),
            firstMoment.at(0),
            secondMoment.at(0),
            0,
            dtype == DType.F32 ? null : weights.at(0)));
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
          normWorkspace
        }) {
      if (memory != null) {
        memory.close();
      }
    }
  }
}
