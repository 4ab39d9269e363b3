package dev.sinter.io;

import static dev.sinter.io.FormatException.quote;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.sinter.io.TensorInfo.Dtype;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The JSON at the start of a safetensors file: what each tensor is and where its data lies.
 *
 * <p>Stricter than the format's own library, which lets white space, duplicate tensors and unknown
 * fields pass: two readers that disagree on what a file says are a way to smuggle weights past a
 * check.
 *
 * @param tensors the tensors by name, in the order of their data
 * @param metadata what {@code __metadata__} says, empty where it is absent
 */
record SafetensorsHeader(Map<String, Entry> tensors, Map<String, String> metadata) {
  /** Of the header's JSON, in bytes: the limit of the format's own library. */
  static final int MAX_BYTES = 100_000_000;

  static final int MAX_TENSORS = 1_000_000;
  static final int MAX_NAME_LENGTH = 1_000;
  static final int MAX_RANK = 16;
  static final String METADATA = "__metadata__";

  /** A tensor and where its data begins, counted from the end of the header. */
  record Entry(TensorInfo tensor, long begin) {}

  /**
   * Reads and checks a header.
   *
   * @param file what messages call the file
   * @param json the header's bytes
   * @param dataBytes how many bytes follow the header in the file
   * @throws FormatException where the header breaks any rule of the format
   */
  static SafetensorsHeader parse(Path file, byte[] json, long dataBytes) throws FormatException {
    int end = json.length;
    while (end > 0 && json[end - 1] == ' ') {
      end--;
    }
    if (end == 0 || json[0] != '{' || json[end - 1] != '}') {
      throw new FormatException(
          file, "its header is not one JSON object padded with spaces; not a safetensors file");
    }
    return new Reader(file).read(json, end, dataBytes);
  }

  /** Holds the name of the file for messages while the JSON is walked token by token. */
  private static final class Reader {
    private final Path file;

    private final Map<String, Entry> tensors = new LinkedHashMap<>();
    private Map<String, String> metadata;

    Reader(Path file) {
      this.file = file;
    }

    SafetensorsHeader read(byte[] json, int length, long dataBytes) throws FormatException {
      // A strict decoder: Jackson's own would guess UTF-16 and let some invalid UTF-8 pass.
      var utf8 =
          new InputStreamReader(
              new ByteArrayInputStream(json, 0, length), StandardCharsets.UTF_8.newDecoder());
      try (JsonParser parser = Json.FACTORY.createParser(utf8)) {
        expect(parser, JsonToken.START_OBJECT, "an object");
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String name = checked(parser.currentName());
          if (name.equals(METADATA)) {
            readMetadata(parser);
          } else {
            readTensor(parser, name);
          }
        }
        if (parser.nextToken() != null) {
          throw new FormatException(file, "its header goes on after the JSON object");
        }
      } catch (FormatException e) {
        throw e;
      } catch (JsonProcessingException e) {
        throw new FormatException(file, "its header is not valid JSON: " + Json.problem(e));
      } catch (CharacterCodingException e) {
        throw new FormatException(file, "its header is not valid UTF-8");
      } catch (IOException e) {
        throw new FormatException(file, "its header cannot be read: " + e.getMessage());
      }
      return new SafetensorsHeader(
          contiguous(dataBytes), metadata == null ? Map.of() : Map.copyOf(metadata));
    }

    private void readMetadata(JsonParser parser) throws IOException {
      if (metadata != null) {
        throw new FormatException(file, METADATA + " stands twice in its header");
      }
      metadata = new TreeMap<>();
      expect(parser, JsonToken.START_OBJECT, METADATA + " to be an object");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = parser.currentName();
        expect(parser, JsonToken.VALUE_STRING, METADATA + " to hold strings only");
        if (!isUnicode(key) || !isUnicode(parser.getText())) {
          throw new FormatException(file, METADATA + " holds half a surrogate pair");
        }
        if (metadata.put(key, parser.getText()) != null) {
          throw new FormatException(file, quote(key) + " stands twice in " + METADATA);
        }
      }
    }

    private void readTensor(JsonParser parser, String name) throws IOException {
      String tensor = "tensor " + quote(name);
      Dtype dtype = null;
      List<Long> shape = null;
      List<Long> offsets = null;
      expect(parser, JsonToken.START_OBJECT, tensor + " to be an object");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String field = parser.currentName();
        boolean twice;
        switch (field) {
          case "dtype" -> {
            twice = dtype != null;
            expect(parser, JsonToken.VALUE_STRING, tensor + ": dtype to be a string");
            dtype = dtype(tensor, parser.getText());
          }
          case "shape" -> {
            twice = shape != null;
            shape = readIntegers(parser, tensor + ": shape", MAX_RANK);
          }
          case "data_offsets" -> {
            twice = offsets != null;
            offsets = readIntegers(parser, tensor + ": data_offsets", 2);
          }
          default -> throw new FormatException(file, tensor + ": unknown field " + quote(field));
        }
        if (twice) {
          throw new FormatException(file, tensor + ": " + field + " stands twice");
        }
      }
      if (dtype == null || shape == null || offsets == null) {
        throw new FormatException(file, tensor + " lacks dtype, shape or data_offsets");
      }
      if (offsets.size() != 2 || offsets.get(0) > offsets.get(1)) {
        throw new FormatException(
            file, tensor + ": data_offsets " + offsets + " are not a begin and an end");
      }
      add(describe(name, dtype, shape), offsets.get(0), offsets.get(1));
    }

    private void add(TensorInfo tensor, long begin, long end) throws FormatException {
      if (tensor.bytes() != end - begin) {
        throw new FormatException(
            file,
            String.format(
                "tensor %s takes %d bytes, data_offsets [%d, %d] hold %d",
                tensor, tensor.bytes(), begin, end, end - begin));
      }
      if (tensors.size() == MAX_TENSORS) {
        throw new FormatException(file, "more than " + MAX_TENSORS + " tensors in its header");
      }
      if (tensors.put(tensor.name(), new Entry(tensor, begin)) != null) {
        throw new FormatException(
            file, "tensor " + quote(tensor.name()) + " stands twice in its header");
      }
    }

    /**
     * Every byte of the data belongs to exactly one tensor: no holes, no overlaps, nothing after
     * the last.
     */
    private Map<String, Entry> contiguous(long dataBytes) throws FormatException {
      List<Entry> sorted = new ArrayList<>(tensors.values());
      sorted.sort(
          Comparator.comparingLong(Entry::begin).thenComparingLong(e -> e.tensor().bytes()));
      Map<String, Entry> ordered = new LinkedHashMap<>();
      long end = 0;
      for (Entry entry : sorted) {
        TensorInfo tensor = entry.tensor();
        if (entry.begin() != end) {
          throw new FormatException(
              file,
              String.format(
                  "tensor %s begins at byte %d of the data, the one before it ends at %d",
                  quote(tensor.name()), entry.begin(), end));
        }
        end += tensor.bytes();
        ordered.put(tensor.name(), entry);
      }
      if (end != dataBytes) {
        throw new FormatException(
            file,
            String.format(
                "its tensors take %d bytes, the file has %d after the header; %s",
                end,
                dataBytes,
                end > dataBytes ? "it is truncated" : "what follows them is not accounted for"));
      }
      return Collections.unmodifiableMap(ordered);
    }

    private TensorInfo describe(String name, Dtype dtype, List<Long> shape) throws FormatException {
      try {
        return new TensorInfo(name, dtype, shape.stream().mapToLong(n -> n).toArray());
      } catch (IllegalArgumentException e) {
        throw new FormatException(file, e.getMessage(), e);
      }
    }

    private Dtype dtype(String tensor, String name) throws FormatException {
      for (Dtype dtype : Dtype.values()) {
        if (dtype.name().equals(name)) {
          return dtype;
        }
      }
      throw new FormatException(file, tensor + ": unknown dtype " + quote(name));
    }

    private List<Long> readIntegers(JsonParser parser, String what, int most) throws IOException {
      expect(parser, JsonToken.START_ARRAY, what + " to be an array");
      List<Long> integers = new ArrayList<>();
      while (parser.nextToken() != JsonToken.END_ARRAY) {
        if (integers.size() == most) {
          throw new FormatException(file, what + " has more than " + most + " numbers");
        }
        integers.add(integer(parser, what));
      }
      return integers;
    }

    private long integer(JsonParser parser, String what) throws IOException {
      if (parser.currentToken() != JsonToken.VALUE_NUMBER_INT || parser.getText().startsWith("-")) {
        throw new FormatException(file, what + " must hold integers of 0 or more");
      }
      if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
        throw new FormatException(file, what + " holds a number beyond 2^63 - 1");
      }
      return parser.getLongValue();
    }

    private String checked(String name) throws FormatException {
      if (name.length() > MAX_NAME_LENGTH) {
        throw new FormatException(
            file,
            String.format(
                "a tensor's name has %d characters, at most %d are read: %s",
                name.length(), MAX_NAME_LENGTH, quote(name)));
      }
      if (!isUnicode(name)) {
        throw new FormatException(file, "the name " + quote(name) + " has half a surrogate pair");
      }
      return name;
    }

    private void expect(JsonParser parser, JsonToken token, String what) throws IOException {
      if (parser.nextToken() != token) {
        throw new FormatException(file, "its header: expected " + what);
      }
    }

    /** JSON's escapes can spell half a surrogate pair, which is no text: it has no UTF-8. */
    private static boolean isUnicode(String text) {
      return StandardCharsets.UTF_8.newEncoder().canEncode(text);
    }
  }
}
