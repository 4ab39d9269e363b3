package dev.sinter.graph;

import java.util.Arrays;
import org.bytedeco.javacpp.Pointer;

/**
 * A dense, row-major array that operations read and write. A parameter lives as long as the model;
 * an activation lives in its graph's arena between the operation that writes it and the last that
 * reads it.
 */
public final class Tensor {
  /** What a tensor is to its graph. */
  enum Role {
    /** A weight or its gradient, or a cache: memory of its own, shared by graphs. */
    RESIDENT,
    /** Written by the caller before a run. */
    INPUT,
    /** Written and read within a run. */
    ACTIVATION
  }

  /**
   * What rows of padded tensors begin at multiples of: tensor cores are fed in pieces of 16 bytes,
   * memory in pieces of 128.
   */
  private static final long ROW_BYTES = 128;

  private final String name;
  private final DType dtype;
  private final long[] shape;
  private final Role role;
  private final Tensor storage;
  private final WeightFormat format;
  private final long stride;
  private Pointer address;

  private Tensor(String name, DType dtype, long[] shape, Role role, Tensor storage) {
    this(name, dtype, shape, role, storage, null, shape[shape.length - 1]);
  }

  private Tensor(
      String name,
      DType dtype,
      long[] shape,
      Role role,
      Tensor storage,
      WeightFormat format,
      long stride) {
    this.name = name;
    this.dtype = dtype;
    this.shape = shape;
    this.role = role;
    this.format = format;
    this.stride = stride;
    this.storage = storage == null ? this : storage.storage;
    long elements = 1;
    for (long size : shape) {
      if (size < 1) {
        throw new IllegalArgumentException(
            "tensor " + name + ": shape " + Arrays.toString(shape) + "; each size is at least 1");
      }
      elements = Math.multiplyExact(elements, size);
    }
  }

  static Tensor resident(String name, DType dtype, Pointer address, long... shape) {
    Tensor tensor = new Tensor(name, dtype, shape, Role.RESIDENT, null);
    tensor.address = address;
    return tensor;
  }

  /**
   * A packed matrix, which has no memory yet. Its shape is [in, out] whatever that of the parameter
   * in files; the type is the one that operations compute in.
   */
  static Tensor packed(String name, DType dtype, WeightFormat format, long in, long out) {
    return new Tensor(name, dtype, new long[] {in, out}, Role.RESIDENT, null, format, out);
  }

  static Tensor input(String name, DType dtype, long... shape) {
    return new Tensor(name, dtype, shape, Role.INPUT, null);
  }

  static Tensor activation(String name, DType dtype, long... shape) {
    return new Tensor(name, dtype, shape, Role.ACTIVATION, null);
  }

  /**
   * An activation whose rows begin at multiples of {@link #ROW_BYTES}. What stands between them is
   * undefined; only operations that heed strides take it.
   */
  static Tensor padded(String name, DType dtype, long... shape) {
    long whole = ROW_BYTES / dtype.bytes();
    long stride = (shape[shape.length - 1] + whole - 1) / whole * whole;
    return new Tensor(name, dtype, shape, Role.ACTIVATION, null, null, stride);
  }

  /** The same elements in other sizes. */
  static Tensor view(Tensor of, long... shape) {
    if (of.isPadded()) {
      throw new IllegalArgumentException(of + " has padded rows: it has no views");
    }
    Tensor view = new Tensor(of.name, of.dtype, shape, of.role, of);
    if (view.elements() != of.elements()) {
      throw new IllegalArgumentException(of + " does not have the elements of " + view);
    }
    return view;
  }

  /** The same memory under another name: what an operation makes of a tensor in place. */
  static Tensor alias(String name, Tensor of) {
    return new Tensor(name, of.dtype, of.shape, of.role, of, null, of.stride);
  }

  /**
   * Returns the name.
   *
   * @return for parameters the Hugging Face name
   */
  public String name() {
    return name;
  }

  /**
   * Returns the storage type.
   *
   * @return the type of the elements
   */
  public DType dtype() {
    return dtype;
  }

  /**
   * Returns the sizes.
   *
   * @return a copy
   */
  public long[] shape() {
    return shape.clone();
  }

  /**
   * Counts the elements.
   *
   * @return the product of the shape
   */
  public long elements() {
    long product = 1;
    for (long size : shape) {
      product *= size;
    }
    return product;
  }

  /** The last size: the width of a row. */
  long columns() {
    return shape[shape.length - 1];
  }

  /** Elements from the start of a row to that of the next. */
  long stride() {
    return stride;
  }

  /** Whether something stands between the rows that is no part of them. */
  boolean isPadded() {
    return stride != columns();
  }

  /** How many rows of {@link #columns()} there are. */
  long rows() {
    return elements() / columns();
  }

  long size(int dimension) {
    return shape[dimension];
  }

  long bytes() {
    return format == null ? rows() * stride * dtype.bytes() : format.bytes(shape[0], shape[1]);
  }

  /** How a packed matrix is held; null: this is a plain array. */
  WeightFormat format() {
    return format;
  }

  Role role() {
    return role;
  }

  Tensor storage() {
    return storage;
  }

  /** Places this tensor's memory, once. */
  void place(Pointer at) {
    address = at;
  }

  /** Where the first element is, once the graph is planned. */
  Pointer address() {
    Pointer at = storage.address;
    if (at == null) {
      throw new IllegalStateException("tensor " + name + " has no memory yet");
    }
    return at;
  }

  /** Where element {@code offset} is. */
  Pointer address(long offset) {
    return offset == 0
        ? address()
        : new Natives.Address(address().address() + offset * dtype.bytes());
  }

  @Override
  public String toString() {
    return name + " " + (format == null ? dtype : "packed " + format) + Arrays.toString(shape);
  }
}
