package dev.sinter.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Writes small GGUF files, well-formed ones and others. */
public final class GgufWriter {
  private static final int F32 = 0;
  private static final int ALIGNMENT = 32;

  private final Map<String, Object> settings = new LinkedHashMap<>();
  private final List<Data> tensors = new ArrayList<>();

  /** A tensor as it is written: sizes outermost first; its offset is -1 where it is in order. */
  private record Data(String name, int type, long[] shape, byte[] bytes, long offset) {}

  /** Sets an Integer (u32), Long (u64), Float, Boolean, String, or a List of one of these. */
  public GgufWriter set(String key, Object value) {
    settings.put(key, value);
    return this;
  }

  /** Takes a setting out. */
  public GgufWriter unset(String key) {
    settings.remove(key);
    return this;
  }

  public GgufWriter add(String name, long[] shape, float... values) {
    byte[] bytes = new byte[4 * values.length];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().put(values);
    return add(name, F32, shape, bytes, -1);
  }

  public GgufWriter add(String name, int type, long[] shape, byte[] bytes, long offset) {
    tensors.removeIf(tensor -> offset == -1 && tensor.name.equals(name));
    tensors.add(new Data(name, type, shape.clone(), bytes.clone(), offset));
    return this;
  }

  public GgufWriter remove(String name) {
    tensors.removeIf(tensor -> tensor.name.equals(name));
    return this;
  }

  public Path write(Path file) throws IOException {
    return Files.write(file, bytes(3));
  }

  public byte[] bytes(int version) {
    int size = tensors.stream().mapToInt(t -> t.bytes.length + 256 + t.name.length()).sum();
    ByteBuffer out = ByteBuffer.allocate(size + (1 << 20)).order(ByteOrder.LITTLE_ENDIAN);
    out.put("GGUF".getBytes(StandardCharsets.US_ASCII)).putInt(version);
    out.putLong(tensors.size()).putLong(settings.size());
    settings.forEach(
        (key, value) -> {
          string(out, key);
          out.putInt(kind(value));
          value(out, value);
        });
    long next = 0;
    for (Data tensor : tensors) {
      string(out, tensor.name);
      out.putInt(tensor.shape.length);
      for (int i = tensor.shape.length - 1; i >= 0; i--) {
        out.putLong(tensor.shape[i]);
      }
      out.putInt(tensor.type).putLong(tensor.offset == -1 ? next : tensor.offset);
      next = aligned(next + tensor.bytes.length);
    }
    for (Data tensor : tensors) {
      out.position((int) aligned(out.position()));
      out.put(tensor.bytes);
    }
    byte[] all = new byte[out.flip().remaining()];
    out.get(all);
    return all;
  }

  private static long aligned(long place) {
    return (place + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  private static void string(ByteBuffer out, String text) {
    byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
    out.putLong(utf8.length).put(utf8);
  }

  private static int kind(Object value) {
    if (value instanceof Integer) {
      return 4;
    }
    if (value instanceof Float) {
      return 6;
    }
    if (value instanceof Boolean) {
      return 7;
    }
    if (value instanceof String) {
      return 8;
    }
    return value instanceof List ? 9 : value instanceof Long ? 10 : 12;
  }

  private static void value(ByteBuffer out, Object value) {
    if (value instanceof Integer number) {
      out.putInt(number);
    } else if (value instanceof Long number) {
      out.putLong(number);
    } else if (value instanceof Float number) {
      out.putFloat(number);
    } else if (value instanceof Double number) {
      out.putDouble(number);
    } else if (value instanceof Boolean truth) {
      out.put((byte) (truth ? 1 : 0));
    } else if (value instanceof String text) {
      string(out, text);
    } else {
      List<?> list = (List<?>) value;
      out.putInt(list.isEmpty() ? 4 : kind(list.get(0))).putLong(list.size());
      list.forEach(one -> value(out, one));
    }
  }
}
