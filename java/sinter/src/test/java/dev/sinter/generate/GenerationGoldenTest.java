package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.sinter.generate.Beams.EarlyStopping;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** What tests/goldens/generation.py computed with transformers. */
class GenerationGoldenTest {
  private static final JsonNode GOLDEN = golden();

  private static Device device;
  private static LanguageModel model;

  private static Path resource(String name) {
    try {
      return Path.of(GenerationGoldenTest.class.getResource(name).toURI());
    } catch (URISyntaxException e) {
      throw new AssertionError(e);
    }
  }

  private static JsonNode golden() {
    try {
      return new ObjectMapper().readTree(resource("golden.json").toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @BeforeAll
  static void loadTheModel() throws IOException {
    device = Device.cpu(2);
    model = ModelFiles.load(resource("/dev/sinter/model/gpt2"), device, DType.F32);
  }

  @AfterAll
  static void closeIt() {
    model.close();
    device.close();
  }

  private static int[] ints(JsonNode values) {
    return StreamSupport.stream(values.spliterator(), false).mapToInt(JsonNode::asInt).toArray();
  }

  private static List<Integer> list(JsonNode values) {
    return IntStream.of(ints(values)).boxed().toList();
  }

  private static Set<Integer> set(JsonNode values) {
    return values == null || values.isNull() ? Set.of() : new HashSet<>(list(values));
  }

  private static float[] floats(JsonNode values) {
    float[] all = new float[values.size()];
    for (int i = 0; i < all.length; i++) {
      all[i] = values.get(i).isNull() ? Float.NEGATIVE_INFINITY : (float) values.get(i).asDouble();
    }
    return all;
  }

  private static Map<List<Integer>, Float> biases(JsonNode pairs) {
    Map<List<Integer>, Float> all = new LinkedHashMap<>();
    pairs.forEach(pair -> all.put(list(pair.get(0)), (float) pair.get(1).asDouble()));
    return all;
  }

  private static List<List<Integer>> words(JsonNode lists) {
    List<List<Integer>> all = new ArrayList<>();
    lists.forEach(word -> all.add(list(word)));
    return all;
  }

  private static Processor processor(String name, JsonNode settings) {
    double x = settings.path("value").asDouble();
    int n = settings.path("value").asInt();
    return switch (name) {
      case "sequenceBias" -> Processors.sequenceBias(biases(settings.get("biases")));
      case "encoderRepetitionPenalty" -> Processors.encoderRepetitionPenalty(x);
      case "repetitionPenalty" -> Processors.repetitionPenalty(x);
      case "noRepeatNgram" -> Processors.noRepeatNgram(n);
      case "encoderNoRepeatNgram" -> Processors.encoderNoRepeatNgram(n);
      case "badWords" -> Processors.badWords(words(settings.get("words")));
      case "minLength" -> Processors.minLength(n);
      case "minNewTokens" -> Processors.minNewTokens(n);
      case "allowed" -> Processors.allowed(ids -> new int[] {last(ids) % 5, 7, 12});
      case "forcedBegin" -> Processors.forcedBegin(n);
      case "forcedEnd" -> Processors.forcedEnd(set(settings.get("ids")));
      case "exponentialDecay" -> Processors.exponentialDecay(settings.get("start").asInt(), x);
      case "suppress" -> Processors.suppress(set(settings.get("ids")));
      case "beginSuppress" -> Processors.beginSuppress(set(settings.get("ids")));
      case "temperature" -> Processors.temperature(x);
      case "topH" -> Processors.topH(x);
      case "topK" -> Processors.topK(n);
      case "topP" -> Processors.topP(x);
      case "minP" -> Processors.minP(x);
      case "typical" -> Processors.typical(x);
      case "epsilon" -> Processors.epsilon(x);
      case "eta" -> Processors.eta(x);
      case "renormalize" -> Processors.renormalize();
      default -> throw new AssertionError(name);
    };
  }

  private static int last(Sequence ids) {
    return ids.id(ids.length() - 1);
  }

  private static Sequence sequence(JsonNode golden, int promptLength, Set<Integer> end, int most) {
    int[] ids = ints(golden.get("ids"));
    int[] prompt = Arrays.copyOf(ids, promptLength);
    Sequence sequence = new Sequence(0, prompt, most, end, prompt);
    for (int i = promptLength; i < ids.length; i++) {
      sequence.add(ids[i]);
    }
    return sequence;
  }

  /** From the best on down: ours of the temperature count from there. */
  private static float[] belowTheBest(float[] scores) {
    float most = scores[Distribution.best(scores)];
    float[] below = scores.clone();
    for (int i = 0; i < below.length; i++) {
      below[i] -= most;
    }
    return below;
  }

  @TestFactory
  Stream<DynamicTest> aProcessorGivesTheScoresOfTheReference() {
    List<DynamicTest> tests = new ArrayList<>();
    for (JsonNode golden : GOLDEN.get("processors")) {
      String name = golden.get("name").asText();
      JsonNode settings = golden.get("settings");
      tests.add(
          dynamicTest(
              name + settings + golden.get("ids"),
              () -> {
                Set<Integer> end = set(settings.get("end"));
                int most = settings.path("maxLength").asInt(100);
                Sequence ids = sequence(golden, golden.get("prompt").asInt(), end, most);
                float[] scores = floats(golden.get("scores"));
                processor(name, settings).process(scores, ids);
                float[] expected = floats(golden.get("out"));
                if (name.equals("temperature")) {
                  expected = belowTheBest(expected);
                }
                assertArrayEquals(expected, scores, 1e-5f);
              }));
    }
    return tests.stream();
  }

  @TestFactory
  Stream<DynamicTest> processorsInAnyOrderActInThatOfTheReference() {
    Sampling sampling =
        Sampling.defaults()
            .with(Processors.eta(0.02), Processors.renormalize(), Processors.epsilon(0.01))
            .with(Processors.typical(0.95), Processors.suppress(Set.of(7)))
            .with(Processors.minLength(12), Processors.badWords(List.of(List.of(1))))
            .with(Processors.noRepeatNgram(3), Processors.noRepeatNgram(2))
            .with(Processors.sequenceBias(Map.of(List.of(3), 2.5f)))
            .withRepetitionPenalty(1.3)
            .withTemperature(0.7)
            .withTopK(9)
            .withTopP(0.9)
            .withMinP(0.02);
    return StreamSupport.stream(GOLDEN.get("chain").spliterator(), false)
        .map(
            golden ->
                dynamicTest(
                    golden.get("ids").toString(),
                    () -> {
                      float[] scores = floats(golden.get("scores"));
                      Sequence ids = sequence(golden, 10, Set.of(5), 100);
                      Processors.of(sampling).process(new float[][] {scores}, List.of(ids));
                      assertArrayEquals(floats(golden.get("out")), scores, 1e-5f);
                    }));
  }

  private static Sampling sampling(JsonNode how) {
    Sampling sampling = Sampling.greedy().withEndTokens(set(how.get("eos_token_id")));
    for (Map.Entry<String, JsonNode> one : how.properties()) {
      JsonNode value = one.getValue();
      sampling =
          switch (one.getKey()) {
            case "max_length" -> sampling.withMaxLength(value.asInt());
            case "max_new_tokens" -> sampling.withMaxNewTokens(value.asInt());
            case "repetition_penalty" -> sampling.withRepetitionPenalty(value.asDouble());
            case "no_repeat_ngram_size" -> sampling.with(Processors.noRepeatNgram(value.asInt()));
            case "min_new_tokens" -> sampling.with(Processors.minNewTokens(value.asInt()));
            case "min_length" -> sampling.with(Processors.minLength(value.asInt()));
            case "bad_words_ids" -> sampling.with(Processors.badWords(words(value)));
            case "forced_eos_token_id" ->
                sampling.with(Processors.forcedEnd(Set.of(value.asInt())));
            case "suppress_tokens" -> sampling.with(Processors.suppress(set(value)));
            case "begin_suppress_tokens" -> sampling.with(Processors.beginSuppress(set(value)));
            case "exponential_decay_length_penalty" ->
                sampling.with(
                    Processors.exponentialDecay(value.get(0).asInt(), value.get(1).asDouble()));
            case "sequence_bias" -> sampling.with(Processors.sequenceBias(biases(value)));
            case "renormalize_logits" -> sampling.with(Processors.renormalize());
            case "eos_token_id",
                "num_beams",
                "early_stopping",
                "length_penalty",
                "num_return_sequences" ->
                sampling;
            default -> throw new AssertionError(one.getKey());
          };
    }
    return sampling;
  }

  private static List<Completion> complete(JsonNode golden) {
    JsonNode how = golden.get("how");
    int[] prompt = ints(golden.get("prompt"));
    int count = how.path("num_beams").asInt(1);
    if (count == 1) {
      return Batch.complete(model, null, List.of(prompt), sampling(how));
    }
    String early = how.path("early_stopping").asText("false").toUpperCase(Locale.ROOT);
    Beams beams =
        Beams.of(count)
            .withReturned(how.path("num_return_sequences").asInt(1))
            .withLengthPenalty(LengthPenalty.power(how.path("length_penalty").asDouble(1)))
            .withEarlyStopping(EarlyStopping.valueOf(early));
    return BeamSearch.complete(model, null, prompt, sampling(how), beams);
  }

  @TestFactory
  Stream<DynamicTest> generatesTheIdsAndScoresOfTheReference() {
    return StreamSupport.stream(GOLDEN.get("generation").spliterator(), false)
        .map(
            golden ->
                dynamicTest(
                    golden.get("prompt") + " " + golden.get("how"),
                    () -> {
                      List<Completion> actual = complete(golden);
                      assertEquals(golden.get("ids").size(), actual.size());
                      for (int i = 0; i < actual.size(); i++) {
                        int[] ids = actual.get(i).tokens().stream().mapToInt(Token::id).toArray();
                        assertArrayEquals(ints(golden.get("ids").get(i)), ids, "sequence " + i);
                        if (!golden.get("scores").isNull()) {
                          double score = golden.get("scores").get(i).asDouble();
                          assertEquals(
                              score, actual.get(i).score(), 1e-5 * Math.max(1, Math.abs(score)));
                        }
                      }
                      assertTrue(actual.stream().allMatch(one -> one.text().isEmpty()));
                    }));
  }
}
