package dev.sinter.graph;

import dev.sinter.natives.global.sinter;
import dev.sinter.natives.sn_random_key;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.Pointer;

/** Operations on each element by itself. */
final class Elementwise {
  private Elementwise() {}

  /** out = a + b. */
  static final class Add extends Operation {
    private final Tensor a;
    private final Tensor b;
    private final Tensor out;

    Add(Tensor a, Tensor b, Tensor out) {
      super("add", List.of(a, b), List.of(out));
      this.a = a;
      this.b = b;
      this.out = out;
    }

    @Override
    Tensor inPlace() {
      return a;
    }

    @Override
    void differentiate(Backward b) {
      Tensor dout = b.gradient(out);
      b.add(this.a, dout);
      b.add(this.b, dout);
    }

    @Override
    Tensor recompute(Tensor output, Backward b) {
      Tensor again = b.activation(out.name() + " again", out.shape());
      b.emit(new Add(b.saved(this.a), b.saved(this.b), again));
      return again;
    }

    @Override
    Call bind(Place at) {
      int dtype = out.dtype().code();
      long count = out.elements();
      Pointer pa = a.address();
      Pointer pb = b.address();
      Pointer po = out.address();
      return (stream, run) -> sinter.sn_add(stream, dtype, count, pa, pb, po);
    }
  }

  /** out = activation(x). */
  static final class ActivationForward extends Operation {
    private final Activation activation;
    private final Tensor x;
    private final Tensor out;

    ActivationForward(Activation activation, Tensor x, Tensor out) {
      super("activation_forward", List.of(x), List.of(out));
      this.activation = activation;
      this.x = x;
      this.out = out;
    }

    @Override
    void differentiate(Backward b) {
      Tensor dx = b.activation("d " + x.name(), x.shape());
      b.emit(new ActivationBackward(activation, b.saved(x), b.gradient(out), dx));
      b.add(x, dx);
    }

    @Override
    Tensor recompute(Tensor output, Backward b) {
      Tensor again = b.activation(out.name() + " again", out.shape());
      b.emit(new ActivationForward(activation, b.saved(x), again));
      return again;
    }

    @Override
    Call bind(Place at) {
      int kind = activation.code();
      int dtype = out.dtype().code();
      long count = out.elements();
      Pointer px = x.address();
      Pointer po = out.address();
      return (stream, run) -> sinter.sn_activation_forward(stream, kind, dtype, count, px, po);
    }
  }

  /** dx = dout * activation'(x). */
  static final class ActivationBackward extends Operation {
    private final Activation activation;
    private final Tensor x;
    private final Tensor dout;
    private final Tensor dx;

    ActivationBackward(Activation activation, Tensor x, Tensor dout, Tensor dx) {
      super("activation_backward", List.of(x, dout), List.of(dx));
      this.activation = activation;
      this.x = x;
      this.dout = dout;
      this.dx = dx;
    }

    @Override
    Tensor inPlace() {
      return dout;
    }

    @Override
    Call bind(Place at) {
      int kind = activation.code();
      int dtype = dx.dtype().code();
      long count = dx.elements();
      Pointer px = x.address();
      Pointer pout = dout.address();
      Pointer pdx = dx.address();
      return (stream, run) ->
          sinter.sn_activation_backward(stream, kind, dtype, count, px, pout, pdx);
    }
  }

  /** out = x in other sizes: the same memory, and no work. */
  static final class View extends Operation {
    private final Tensor x;
    private final Tensor out;

    View(Tensor x, Tensor out) {
      super("view", List.of(x), List.of(out));
      this.x = x;
      this.out = out;
    }

    @Override
    void differentiate(Backward b) {
      Tensor dout = b.gradient(out);
      Tensor dx = Tensor.view(dout, x.shape());
      b.emit(new View(dout, dx));
      b.add(x, dx);
    }

    @Override
    Tensor recompute(Tensor output, Backward b) {
      Tensor saved = b.saved(x);
      Tensor again = Tensor.view(saved, out.shape());
      b.emit(new View(saved, again));
      return again;
    }

    @Override
    Call bind(Place at) {
      return (stream, run) -> sinter.SN_OK;
    }
  }

  /** out = x in another dtype. */
  static final class Cast extends Operation {
    private final Tensor x;
    private final Tensor out;

    Cast(Tensor x, Tensor out) {
      super("cast", List.of(x), List.of(out));
      this.x = x;
      this.out = out;
    }

    @Override
    void differentiate(Backward b) {
      if (b.wants(x)) {
        Tensor dx = Tensor.activation("d " + x.name(), x.dtype(), x.shape());
        b.emit(new Cast(b.gradient(out), dx));
        b.add(x, dx);
      }
    }

    @Override
    Tensor recompute(Tensor output, Backward b) {
      Tensor again = Tensor.activation(out.name() + " again", out.dtype(), out.shape());
      b.emit(new Cast(b.saved(x), again));
      return again;
    }

    @Override
    Call bind(Place at) {
      int from = x.dtype().code();
      int to = out.dtype().code();
      long count = out.elements();
      Pointer px = x.address();
      Pointer po = out.address();
      return (stream, run) -> sinter.sn_cast(stream, count, from, px, to, po);
    }
  }

  /** out = residual + dropout(x). */
  static final class Dropout extends Operation {
    private final Tensor x;
    private final Tensor residual;
    private final Tensor out;
    private final float p;
    private final long seed;
    private final long number;

    /**
     * @param residual or null
     * @param number tells this dropout from the others of the model
     */
    Dropout(Tensor x, Tensor residual, Tensor out, float p, long seed, long number) {
      super("dropout", present(x, residual), List.of(out));
      this.x = x;
      this.residual = residual;
      this.out = out;
      this.p = p;
      this.seed = seed;
      this.number = number;
    }

    @Override
    Tensor inPlace() {
      return x;
    }

    @Override
    void differentiate(Backward b) {
      Tensor dout = b.gradient(out);
      if (b.wants(x)) {
        Tensor dx = b.activation("d " + x.name(), x.shape());
        b.emit(new Dropout(dout, null, dx, p, seed, number));
        b.add(x, dx);
      }
      if (residual != null) {
        b.add(residual, dout);
      }
    }

    @Override
    Tensor recompute(Tensor output, Backward b) {
      Tensor again = b.activation(out.name() + " again", out.shape());
      b.emit(
          new Dropout(
              b.saved(x), residual == null ? null : b.saved(residual), again, p, seed, number));
      return again;
    }

    @Override
    Call bind(Place at) {
      int dtype = out.dtype().code();
      long count = out.elements();
      Pointer px = x.address();
      Pointer pr = residual == null ? null : residual.address();
      Pointer po = out.address();
      sn_random_key key = new sn_random_key().seed(seed).tensor(number).clock(at.clock());
      return (stream, run) -> {
        return sinter.sn_dropout(stream, dtype, count, p, key, px, pr, po);
      };
    }
  }

  /** The tensors that are not null. */
  static List<Tensor> present(Tensor... tensors) {
    List<Tensor> present = new ArrayList<>();
    for (Tensor tensor : tensors) {
      if (tensor != null) {
        present.add(tensor);
      }
    }
    return present;
  }
}
