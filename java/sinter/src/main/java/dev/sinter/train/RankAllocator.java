package dev.sinter.train;

import dev.sinter.graph.Parameters;
import dev.sinter.graph.Parameters.Part;
import dev.sinter.model.AdaLoraConfig;
import dev.sinter.model.Adapter;
import dev.sinter.model.Model;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a training with AdaLoRA does at each step beside the update (Zhang et al. 2023, section 3):
 * it keeps the rows of A and the columns of B near orthogonal, follows how important each triplet
 * is, and sets the singular values of the least important to zero, until the target rank is left.
 * As PEFT computes it: the norms of the regulariser are not squared, and it is their mean.
 *
 * <p>Triplets that were set to zero go on training, and may come back, until the last pruning.
 * Where PEFT would prune all triplets whose importance is the last pruned one's, none is pruned
 * here beyond the budget.
 */
final class RankAllocator {
  private final Adapter adapter;
  private final AdaLoraConfig config;
  private final List<Factors> modules = new ArrayList<>();
  private final int triplets;

  /** Whether an adapter that was trained before goes on: what it kept no longer changes. */
  private final boolean decided;

  private final boolean[] kept;
  private long followed;

  /** A module's parameters, and the importance of their elements. */
  private static final class Factors {
    final Adapter.Module module;
    final Importance a;
    final Importance b;
    final Importance scale;

    Factors(Adapter.Module module) {
      this.module = module;
      this.a = new Importance(module.a(), module.rank() * module.in());
      this.b = new Importance(module.b(), module.out() * module.rank());
      this.scale = new Importance(module.scale(), module.rank());
    }
  }

  /** Running means of how important each element is, and how uncertain that is (eq. 8 to 10). */
  private static final class Importance {
    final String name;
    final float[] mean;
    final float[] uncertainty;

    Importance(String name, long elements) {
      this.name = name;
      this.mean = new float[Math.toIntExact(elements)];
      this.uncertainty = new float[mean.length];
    }

    void update(Parameters parameters, AdaLoraConfig config, double clipped) {
      float[] weights = parameters.read(Part.WEIGHT, name);
      float[] gradients = parameters.read(Part.GRADIENT, name);
      float beta1 = (float) config.beta1();
      float beta2 = (float) config.beta2();
      for (int i = 0; i < mean.length; i++) {
        float now = Math.abs(weights[i] * (float) (gradients[i] * clipped));
        mean[i] = beta1 * mean[i] + (1 - beta1) * now;
        uncertainty[i] = beta2 * uncertainty[i] + (1 - beta2) * Math.abs(now - mean[i]);
      }
    }

    double score(int i) {
      return (double) mean[i] * uncertainty[i];
    }
  }

  private RankAllocator(Adapter adapter, AdaLoraConfig config) {
    this.adapter = adapter;
    this.config = config;
    for (Adapter.Module module : adapter.modules()) {
      modules.add(new Factors(module));
    }
    this.triplets = modules.stream().mapToInt(factors -> factors.module.rank()).sum();
    this.decided = !config.kept().isEmpty();
    this.kept = new boolean[triplets];
    Arrays.fill(kept, true);
    int at = 0;
    for (Factors factors : modules) {
      List<Boolean> of = config.kept().get(factors.module.module());
      // Of an adapter from files only what was kept is there.
      for (int i = 0; of != null && of.size() == factors.module.rank() && i < of.size(); i++) {
        kept[at + i] = of.get(i);
      }
      at += factors.module.rank();
    }
  }

  /** For the training of a model; null: it has no adapter of AdaLoRA's. */
  static RankAllocator of(Model model) {
    Adapter adapter = model.adapter();
    return adapter != null && adapter.config() instanceof AdaLoraConfig config
        ? new RankAllocator(adapter, config)
        : null;
  }

  /** Adds the regulariser's gradient (eq. 4), after the passes of a step; returns its loss. */
  double regularize() {
    double sum = 0;
    int matrices = 2 * modules.size();
    if (config.orthogonality() == 0 || matrices == 0) {
      return 0;
    }
    double weight = config.orthogonality() / matrices;
    for (Factors factors : modules) {
      sum += straighten(factors.module.a(), factors.module.rank(), true, weight);
      sum += straighten(factors.module.b(), factors.module.rank(), false, weight);
    }
    return weight * sum;
  }

  /**
   * The Frobenius norm of P = M Mᵀ - I, and its gradient, 2 P M / norm, times a weight. M is what
   * is stored, or its transpose.
   */
  private double straighten(String name, int rank, boolean isRows, double weight) {
    Parameters parameters = adapter.parameters();
    float[] m = parameters.read(Part.WEIGHT, name);
    int width = m.length / rank;
    int row = isRows ? width : 1;
    int column = isRows ? 1 : rank;
    double[] p = new double[rank * rank];
    double squares = 0;
    for (int i = 0; i < rank; i++) {
      for (int j = 0; j < rank; j++) {
        double dot = i == j ? -1 : 0;
        for (int k = 0; k < width; k++) {
          dot += (double) m[i * row + k * column] * m[j * row + k * column];
        }
        p[i * rank + j] = dot;
        squares += dot * dot;
      }
    }
    double norm = Math.sqrt(squares);
    if (norm == 0) {
      return 0;
    }
    float[] gradient = parameters.read(Part.GRADIENT, name);
    for (int i = 0; i < rank; i++) {
      for (int k = 0; k < width; k++) {
        double sum = 0;
        for (int j = 0; j < rank; j++) {
          sum += p[i * rank + j] * m[j * row + k * column];
        }
        gradient[i * row + k * column] += (float) (2 * weight / norm * sum);
      }
    }
    parameters.write(Part.GRADIENT, name, gradient);
    return norm;
  }

  /**
   * Follows the importance and prunes (eq. 7, 11 and 12), after the update, whose gradients are
   * still there.
   *
   * @param step from 1
   * @param clipped what the update multiplied the gradients by
   */
  void allocate(long step, double clipped) {
    if (!decided && step != ++followed) {
      throw new IllegalStateException(
          "AdaLoRA's importance is not kept from one training to the next; train from step 1 on");
    }
    long last = config.totalSteps() - config.tfinal();
    boolean prunes = step > config.tinit() && step % config.deltaT() == 0 || step == last;
    if (!decided && step < last) {
      for (Factors factors : modules) {
        factors.a.update(adapter.parameters(), config, clipped);
        factors.b.update(adapter.parameters(), config, clipped);
        factors.scale.update(adapter.parameters(), config, clipped);
      }
    }
    if (!decided && step <= last && prunes) {
      choose(budget(step));
    }
    if (decided || step > last || prunes) {
      mask();
    }
  }

  /**
   * How many triplets may be left after a step.
   *
   * @param step from 1
   * @return over all modules
   */
  int budget(long step) {
    if (step <= config.tinit()) {
      return triplets;
    }
    int target = config.targetRank() * modules.size();
    long last = config.totalSteps() - config.tfinal();
    double left = 1 - (double) (Math.min(step, last) - config.tinit()) / (last - config.tinit());
    return (int) ((triplets - target) * Math.pow(left, 3) + target);
  }

  /** Keeps the most important triplets. */
  private void choose(int budget) {
    double[] scores = new double[triplets];
    int at = 0;
    for (Factors factors : modules) {
      int rank = factors.module.rank();
      int in = Math.toIntExact(factors.module.in());
      int out = Math.toIntExact(factors.module.out());
      for (int i = 0; i < rank; i++) {
        double ofA = 0;
        for (int k = 0; k < in; k++) {
          ofA += factors.a.score(i * in + k);
        }
        double ofB = 0;
        for (int k = 0; k < out; k++) {
          ofB += factors.b.score(k * rank + i);
        }
        scores[at++] = factors.scale.score(i) + ofA / in + ofB / out;
      }
    }
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < triplets; i++) {
      order.add(i);
    }
    order.sort(Comparator.comparingDouble(i -> scores[i]));
    for (int i = 0; i < triplets; i++) {
      kept[order.get(i)] = i >= triplets - budget;
    }
    Map<String, List<Boolean>> byModule = new LinkedHashMap<>();
    at = 0;
    for (Factors factors : modules) {
      List<Boolean> of = new ArrayList<>();
      for (int i = 0; i < factors.module.rank(); i++) {
        of.add(kept[at++]);
      }
      byModule.put(factors.module.module(), of);
    }
    adapter.keep(byModule);
  }

  /** Sets the singular values of what is not kept to zero. */
  private void mask() {
    int at = 0;
    for (Factors factors : modules) {
      float[] scale = adapter.parameters().read(Part.WEIGHT, factors.module.scale());
      for (int i = 0; i < scale.length; i++) {
        scale[i] = kept[at++] ? scale[i] : 0;
      }
      adapter.parameters().write(Part.WEIGHT, factors.module.scale(), scale);
    }
  }
}
