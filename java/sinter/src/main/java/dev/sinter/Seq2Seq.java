package dev.sinter;

import dev.sinter.generate.Beams;
import dev.sinter.generate.Hypothesis;
import dev.sinter.generate.LengthPenalty;
import dev.sinter.generate.Processors;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Translator;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * An encoder-decoder with its tokenizer: turns texts into others, as in translation. Safe to use
 * from many threads, which take turns.
 *
 * <pre>{@code
 * try (Seq2Seq model = Seq2Seq.load(Path.of("en-de"))) {
 *   System.out.println(model.translate("A man sleeps."));
 * }
 * }</pre>
 *
 * <p>A source ends with the model's end token, which is added where it is not there; what is longer
 * than the context is cut off before it.
 */
public final class Seq2Seq implements AutoCloseable {
  /** How much longer than its source a target may be (Vaswani et al. 2017, section 6.1). */
  private static final int MORE_THAN_SOURCE = 50;

  private static final int STEP = 16;
  private static final int KEPT = 4;

  private final TransformerModel model;
  private final Tokenizer tokenizer;
  private final Device owned;
  private final Map<Shape, Translator> translators =
      new LinkedHashMap<>(2 * KEPT, 0.75f, true); // the least recently used comes first
  private boolean closed;

  private record Shape(Beams beams, int source, int target) {}

  private Seq2Seq(TransformerModel model, Tokenizer tokenizer, Device owned) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.owned = owned;
  }

  /**
   * What a source became.
   *
   * @param text without special tokens; empty where there is no tokenizer
   * @param ids of its tokens, the end token left out
   * @param score sum of the log-probabilities, divided by the length penalty
   */
  public record Translation(String text, int[] ids, double score) {}

  /**
   * Loads a model on the best device that is there, in fp32.
   *
   * @param folder in Hugging Face's layout: config.json, the weights, the tokenizer's files
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Seq2Seq load(Path folder) throws IOException {
    return Facades.onBestDevice(device -> load(folder, device, DType.F32, device));
  }

  /**
   * Loads a model.
   *
   * @param folder in Hugging Face's layout: config.json, the weights, the tokenizer's files
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights: fp32 or bf16
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Seq2Seq load(Path folder, Device device, DType dtype) throws IOException {
    return load(folder, device, dtype, null);
  }

  private static Seq2Seq load(Path folder, Device device, DType dtype, Device owned)
      throws IOException {
    Tokenizer tokenizer = Tokenizer.load(folder);
    TransformerModel model = ModelFiles.loadTransformer(folder, device, dtype);
    try {
      Facades.checkVocabulary(folder, tokenizer, model.config().vocabulary());
      return new Seq2Seq(model, tokenizer, owned);
    } catch (IOException | RuntimeException e) {
      model.close();
      throw e;
    }
  }

  /**
   * Takes a model that is there already.
   *
   * @param model is closed with this
   * @param tokenizer of sources and targets; null: ids alone
   * @return the model under its tokenizer; the caller closes it
   */
  public static Seq2Seq of(TransformerModel model, Tokenizer tokenizer) {
    return new Seq2Seq(model, tokenizer, null);
  }

  /**
   * Returns the weights and graphs.
   *
   * @return the model under the tokenizer
   */
  public TransformerModel model() {
    return model;
  }

  /**
   * The settings of Vaswani et al. 2017, section 6.1.
   *
   * @return four beams, a length penalty of 0.6
   */
  public static Beams paperBeams() {
    return Beams.of(4).withLengthPenalty(LengthPenalty.paper(0.6));
  }

  /**
   * Translates a text with the paper's settings.
   *
   * @param text at least one token
   * @return the best target, at most 50 tokens longer than its source
   */
  public String translate(String text) {
    return translate(List.of(text), paperBeams()).get(0).get(0).text;
  }

  /**
   * Translates texts, one after the other.
   *
   * @param texts each at least one token
   * @param beams how targets are searched
   * @return the best targets of each, the best first; at most 50 tokens longer than their source
   */
  public List<List<Translation>> translate(List<String> texts, Beams beams) {
    return texts.stream().map(text -> translate(encode(text), beams, null)).toList();
  }

  /**
   * Translates texts, one after the other.
   *
   * @param texts each at least one token
   * @param beams how targets are searched
   * @param sampling lengths, end tokens and processors; those of sampling must be off; null: at
   *     most 50 tokens longer than their source
   * @return the best targets of each, the best first
   */
  public List<List<Translation>> translate(List<String> texts, Beams beams, Sampling sampling) {
    return texts.stream().map(text -> translate(encode(text), beams, sampling)).toList();
  }

  private int[] encode(String text) {
    if (tokenizer == null) {
      throw new IllegalStateException("without a tokenizer the model reads token ids alone");
    }
    return tokenizer.encoding(text).ids();
  }

  /**
   * Translates a source of ids.
   *
   * @param source at least one
   * @param beams how targets are searched
   * @param sampling lengths, end tokens and processors; those of sampling must be off; null: at
   *     most 50 tokens longer than the source
   * @return the best targets, the best first
   */
  public synchronized List<Translation> translate(int[] source, Beams beams, Sampling sampling) {
    if (closed) {
      throw new IllegalStateException("the model is closed");
    }
    if (source.length == 0) {
      throw new IllegalArgumentException("the source is empty; it needs at least one token");
    }
    TransformerConfig config = model.config();
    int[] ended = ended(source);
    Sampling settings =
        sampling == null
            ? Sampling.greedy().withMaxNewTokens(ended.length + MORE_THAN_SOURCE)
            : sampling;
    if (config.padding() != config.end()) {
      // Padding is no word, though every target begins with it where it is the start token.
      settings = settings.with(Processors.suppress(Set.of(config.padding())));
    }
    int asked = settings.ending().maxNewTokens();
    long target = asked > 0 ? 1L + asked : settings.ending().maxLength();
    Shape shape = new Shape(beams, rounded(ended.length), rounded(target));
    Translator translator = translators.get(shape);
    if (translator == null) {
      if (translators.size() == KEPT) {
        translators.remove(translators.keySet().iterator().next()).close();
      }
      translator = new Translator(model, beams, shape.source, shape.target);
      translators.put(shape, translator);
    }
    return translator.translate(ended, settings).stream().map(this::translation).toList();
  }

  private int rounded(long length) {
    return (int) Math.min(model.config().context(), (length + STEP - 1) / STEP * STEP);
  }

  private int[] ended(int[] source) {
    int end = model.config().end();
    int count = source.length - (source[source.length - 1] == end ? 1 : 0);
    int kept = Math.min(count, model.config().context() - 1);
    int[] all = Arrays.copyOf(source, kept + 1);
    all[kept] = end;
    return all;
  }

  private Translation translation(Hypothesis hypothesis) {
    int[] ids = hypothesis.ids();
    boolean ended = ids.length > 0 && ids[ids.length - 1] == model.config().end();
    int[] words = Arrays.copyOf(ids, ids.length - (ended ? 1 : 0));
    return new Translation(text(words), words, hypothesis.score());
  }

  private String text(int... ids) {
    if (tokenizer == null) {
      return "";
    }
    // A model may have more rows than the tokenizer has tokens.
    return tokenizer.decode(Arrays.stream(ids).filter(id -> id < tokenizer.size()).toArray());
  }

  /**
   * Saves the model in Hugging Face's layout.
   *
   * @param folder is made where it is not there
   * @throws IOException where it cannot be written; what was there stays
   */
  public synchronized void save(Path folder) throws IOException {
    Files.createDirectories(folder);
    if (tokenizer != null) {
      tokenizer.save(folder);
    }
    ModelFiles.save(model, folder);
  }

  /** Closes the model. Closing twice is harmless. */
  @Override
  public synchronized void close() {
    closed = true;
    new ArrayList<>(translators.values()).forEach(Translator::close);
    translators.clear();
    model.close();
    if (owned != null) {
      owned.close();
    }
  }
}
