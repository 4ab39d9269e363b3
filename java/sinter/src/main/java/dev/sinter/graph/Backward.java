package dev.sinter.graph;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Derives the backward pass: walks the forward operations in reverse and gathers each tensor's
 * gradient.
 */
final class Backward {
  private final Weights weights;
  private final DType dtype;
  private final Recompute recompute;
  private final Set<Tensor> kept;
  private final List<Operation> operations = new ArrayList<>();
  private final Map<Tensor, Tensor> gradients = new IdentityHashMap<>();
  private final Map<Tensor, Tensor> recomputed = new IdentityHashMap<>();
  private final Map<Tensor, Operation> producers = new IdentityHashMap<>();
  private final Map<Tensor, Operation> writers = new IdentityHashMap<>();
  private final Map<Tensor, Integer> consumers = new HashMap<>();
  private final Set<Tensor> written = new HashSet<>();

  /** What a trained parameter has a part in: all else needs no gradient. */
  private final Set<Tensor> depends = new HashSet<>();

  private Backward(
      List<Operation> forward,
      Weights weights,
      DType dtype,
      Recompute recompute,
      Set<Tensor> kept) {
    this.weights = weights;
    this.dtype = dtype;
    this.recompute = recompute;
    this.kept = kept;
    for (Operation operation : forward) {
      operation.writes().forEach(output -> producers.put(output, operation));
      operation.reads().forEach(input -> consumers.merge(input, 1, Integer::sum));
      if (operation.reads().stream().anyMatch(input -> depends.contains(input) || trains(input))) {
        depends.addAll(operation.writes());
      }
    }
  }

  /** The operations of the backward pass, in order. */
  static List<Operation> of(
      List<Operation> forward,
      Weights weights,
      DType dtype,
      Recompute recompute,
      Set<Tensor> kept) {
    Backward backward = new Backward(forward, weights, dtype, recompute, kept);
    for (int i = forward.size() - 1; i >= 0; i--) {
      Operation operation = forward.get(i);
      if (operation.isRoot() || operation.writes().stream().anyMatch(backward::reaches)) {
        operation.differentiate(backward);
      }
    }
    return backward.operations;
  }

  /** Whether a gradient has come to this tensor: what no loss reads has none. */
  private boolean reaches(Tensor tensor) {
    return gradients.get(tensor) != null;
  }

  void emit(Operation operation) {
    operations.add(operation);
    operation.writes().forEach(output -> writers.put(output, operation));
  }

  /** The operation of this pass that writes a tensor, or null. */
  Operation writer(Tensor tensor) {
    return writers.get(tensor);
  }

  /** Puts an operation where one stands that writes the same and less. */
  void replace(Operation operation, Operation by) {
    operations.set(operations.indexOf(operation), by);
    by.writes().forEach(output -> writers.put(output, by));
  }

  /** A new activation of this pass. */
  Tensor activation(String name, long... shape) {
    return Tensor.activation(name, dtype, shape);
  }

  /** Whether this tensor's gradient is wanted: no trained parameter has a part in inputs. */
  boolean wants(Tensor tensor) {
    return depends.contains(tensor);
  }

  /**
   * The gradient gathered so far, or null. It is complete when the tensor's producer is
   * differentiated.
   */
  Tensor gradient(Tensor tensor) {
    return gradients.get(tensor);
  }

  /**
   * Takes out what has been gathered so far: the caller gives it back as part of a sum. Null:
   * nothing yet.
   */
  Tensor takePartial(Tensor tensor) {
    return gradients.remove(tensor);
  }

  /** Adds a contribution to a tensor's gradient. */
  void add(Tensor tensor, Tensor contribution) {
    if (!wants(tensor)) {
      return;
    }
    Tensor before = gradients.get(tensor);
    if (before == null) {
      gradients.put(tensor, contribution);
      return;
    }
    Tensor total = activation("d " + tensor.name(), tensor.shape());
    emit(new Elementwise.Add(before, contribution, total));
    gradients.put(tensor, total);
  }

  /**
   * Whether this is a parameter that is trained: what is frozen and tables of constants are not.
   */
  boolean trains(Tensor parameter) {
    return weights.trained().trains(parameter);
  }

  /** The gradient of a parameter, in fp32; null: it is frozen. */
  Tensor parameterGradient(Tensor parameter) {
    return trains(parameter) ? weights.trained().gradient(parameter) : null;
  }

  /**
   * Whether no operation of this pass has written this parameter's gradient yet. Asking counts as
   * writing.
   */
  boolean first(Tensor parameter) {
    return written.add(parameter);
  }

  /** The operation that made an activation, or null. */
  Operation producer(Tensor tensor) {
    return producers.get(tensor);
  }

  /** Whether exactly one forward operation reads this tensor. */
  boolean readOnce(Tensor tensor) {
    return consumers.getOrDefault(tensor, 0) == 1;
  }

  /** A forward tensor's content: the tensor itself where it was kept, else computed again, once. */
  Tensor saved(Tensor tensor) {
    if (tensor.role() != Tensor.Role.ACTIVATION || keeps(tensor)) {
      return tensor;
    }
    Tensor again = recomputed.get(tensor);
    if (again == null) {
      int from = operations.size();
      again = producers.get(tensor).recompute(tensor, this);
      operations.subList(from, operations.size()).forEach(Operation::repeats);
      recomputed.put(tensor, again);
    }
    return again;
  }

  /**
   * Notes that {@code again} has the content of {@code tensor}: an operation with several outputs
   * made both.
   */
  void recomputed(Tensor tensor, Tensor again) {
    recomputed.put(tensor, again);
  }

  boolean keeps(Tensor tensor) {
    if (producers.get(tensor) instanceof PackedRows) {
      return false; // a weight unpacked: as large as what packing saves
    }
    return switch (recompute) {
      case NONE -> true;
      case ELEMENTWISE ->
          !(producers.get(tensor) instanceof LayerNorm norm && norm.isOutput(tensor))
              && !(producers.get(tensor) instanceof Linear linear && linear.isActivated(tensor));
      case BLOCK -> kept.contains(tensor);
    };
  }
}
