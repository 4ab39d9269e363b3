package dev.sinter.finetune;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a model says of a sample.
 *
 * @param values in the words of {@link Sample#gold}: labels, a tag for each word, a number, an
 *     answer, the number of a choice, a translation
 * @param scores a probability of each label, tag, answer or choice there is; or a number; or a
 *     vector
 * @param fields the same by name, as {@code ./sinter predict} prints it in JSON: texts, numbers,
 *     and lists and maps of them
 */
public record Prediction(List<String> values, List<Double> scores, Map<String, Object> fields) {
  /** Takes copies. */
  public Prediction {
    values = List.copyOf(values);
    scores = List.copyOf(scores);
    fields = Collections.unmodifiableMap(new LinkedHashMap<>(fields));
  }
}
