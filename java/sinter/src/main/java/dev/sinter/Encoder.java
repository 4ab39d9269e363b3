package dev.sinter;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.Head;
import dev.sinter.model.Head.Loss;
import dev.sinter.model.Head.Task;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.model.TaskRunner;
import dev.sinter.text.Encoding;
import dev.sinter.text.SpecialToken;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * A model that reads whole texts: a BERT with the head that its folder names, or a GPT with a
 * classifier's. It fills masks, embeds, classifies, tags, answers and chooses; what its head does
 * not do is refused. Safe to use from many threads, which take turns.
 *
 * <pre>{@code
 * try (Encoder bert = Encoder.load(Path.of("bert-base-uncased"))) {
 *   List<Encoder.Mask> masks = bert.fillMask("Paris is the [MASK] of France.", 5);
 *   float[][] vectors = bert.embed(List.of("a text", "another"), Encoder.Pooling.MEAN, true);
 * }
 * }</pre>
 *
 * <p>A text that is longer than the model's context is cut off behind it, but for {@link #tag} and
 * {@link #answer}, which read it in windows. Every method takes {@link Encoding}s too, for ids that
 * come from elsewhere.
 */
public final class Encoder implements AutoCloseable {
  /** The most tokens of an answer, as in SQuAD's evaluation. */
  private static final int MOST_ANSWER = 30;

  /** The most tokens that two windows of a context share. */
  private static final int OVERLAP = 128;

  private final TaskModel model;
  private final TaskRunner runner;
  private final Tokenizer tokenizer;
  private final List<String> labels;
  private final Device owned;

  private Encoder(TaskModel model, Tokenizer tokenizer, List<String> labels, Device owned) {
    this.model = model;
    this.runner = new TaskRunner(model);
    this.tokenizer = tokenizer;
    this.labels = labels;
    this.owned = owned;
  }

  /** What becomes of a text's hidden states. */
  public enum Pooling {
    /** The mean over all its tokens. */
    MEAN,
    /** That of the first token, [CLS] in BERT. */
    FIRST
  }

  /**
   * A word for a masked place.
   *
   * @param id of the token
   * @param token as the vocabulary writes it, ## and all; empty where there is no tokenizer
   * @param probability from 0 to 1
   */
  public record Candidate(int id, String token, double probability) {}

  /**
   * A masked place.
   *
   * @param start where the mask is written in the text
   * @param end where it ends
   * @param top the likeliest words, the likeliest first
   */
  public record Mask(int start, int end, List<Candidate> top) {}

  /**
   * A label of a text.
   *
   * @param id its number
   * @param name what config.json calls it, or LABEL_0, LABEL_1, …
   * @param score its probability: one of several add up to 1, of labels that may come together each
   *     has its own; or, of a regression, the number
   */
  public record Label(int id, String name, double score) {}

  /**
   * A label of a word.
   *
   * @param start where the word begins in the text
   * @param end where it ends
   * @param text of the word; empty where there is no tokenizer
   * @param label the likeliest
   * @param score its probability
   */
  public record Tag(int start, int end, String text, String label, double score) {}

  /**
   * An answer to a question.
   *
   * @param start where it begins in the context
   * @param end where it ends; equal to the start: there is none
   * @param text of it; empty where there is none, or no tokenizer
   * @param score the sum of the logits of start and end
   * @param nullScore the same sum of the first token, which means no answer; of several windows the
   *     least
   */
  public record Answer(int start, int end, String text, double score, double nullScore) {}

  /**
   * Loads a model on the best device that is there, in fp32.
   *
   * @param folder in Hugging Face's layout: config.json, the weights, the tokenizer's files; or one
   *     of llama.cpp's files, {@code model.gguf}
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Encoder load(Path folder) throws IOException {
    return Facades.onBestDevice(device -> load(folder, device, DType.F32, device));
  }

  /**
   * Loads a model.
   *
   * @param folder in Hugging Face's layout: config.json, the weights, the tokenizer's files; or one
   *     of llama.cpp's files, {@code model.gguf}
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights: fp32 or bf16
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Encoder load(Path folder, Device device, DType dtype) throws IOException {
    return load(folder, device, dtype, null);
  }

  private static Encoder load(Path folder, Device device, DType dtype, Device owned)
      throws IOException {
    Tokenizer tokenizer = Tokenizer.load(folder);
    Head head = ModelFiles.readHead(folder);
    List<String> labels = ModelFiles.readLabels(folder);
    TaskModel model = ModelFiles.loadTask(folder, head, device, dtype);
    try {
      Facades.checkVocabulary(folder, tokenizer, model.vocabulary());
      return new Encoder(model, tokenizer, labels, owned);
    } catch (IOException | RuntimeException e) {
      model.close();
      throw e;
    }
  }

  /**
   * Takes a model that is there already.
   *
   * @param model is closed with the encoder
   * @param tokenizer of its texts; null: it reads {@link Encoding}s alone
   * @param labels names of a classifier's labels; none: LABEL_0, LABEL_1, …
   * @return the encoder; the caller closes it
   */
  public static Encoder of(TaskModel model, Tokenizer tokenizer, List<String> labels) {
    return new Encoder(model, tokenizer, List.copyOf(labels), null);
  }

  /**
   * Returns the weights and graphs.
   *
   * @return the model under the tokenizer
   */
  public TaskModel model() {
    return model;
  }

  /**
   * Encodes a text as the model reads it, cut off at its context.
   *
   * @param text any
   * @return its tokens
   */
  public Encoding encode(String text) {
    return tokenizer().encoding(text, model.context());
  }

  /**
   * Encodes a pair of texts as the model reads it; where it is too long for the context, the longer
   * one is cut off first.
   *
   * @param text any
   * @param second any
   * @return its tokens
   */
  public Encoding encode(String text, String second) {
    return tokenizer().encoding(text, second, model.context());
  }

  private Tokenizer tokenizer() {
    if (tokenizer == null) {
      throw new IllegalStateException("without a tokenizer the model reads token ids alone");
    }
    return tokenizer;
  }

  /**
   * Tells the words behind masks.
   *
   * @param text with [MASK], or what the tokenizer writes for it, at one or more places
   * @param top how many words of each
   * @return each place with its likeliest words
   * @throws IllegalArgumentException where there is no mask in what the context holds of the text,
   *     or the model has no head for masks
   */
  public List<Mask> fillMask(String text, int top) {
    int mask =
        tokenizer()
            .special(SpecialToken.MASK)
            .orElseThrow(() -> new IllegalArgumentException("the vocabulary has no mask token"));
    Encoding input = tokenizer().parsingSpecials().encoding(text, model.context());
    if (Arrays.stream(input.ids()).noneMatch(id -> id == mask)) {
      throw new IllegalArgumentException(
          "there is no "
              + tokenizer().token(mask)
              + " in the text, or only behind the context of "
              + model.context()
              + " tokens");
    }
    return fillMask(input, mask, top);
  }

  /**
   * Tells the words behind masks.
   *
   * @param input with masks
   * @param mask the token that stands for a masked one
   * @param top how many words of each
   * @return each place with its likeliest words
   */
  public List<Mask> fillMask(Encoding input, int mask, int top) {
    if (top < 1) {
      throw new IllegalArgumentException("top " + top + "; 1 or more");
    }
    int[] places = IntStream.range(0, input.length()).filter(i -> input.ids()[i] == mask).toArray();
    if (places.length == 0) {
      throw new IllegalArgumentException("none of the ids is the mask, " + mask);
    }
    TaskRunner.Input one = new TaskRunner.Input(input.ids(), input.types(), places);
    float[] logits = runner.run(maskedHead(), List.of(one)).get(0);
    List<Mask> masks = new ArrayList<>();
    for (int i = 0; i < places.length; i++) {
      int from = i * model.vocabulary();
      double[] p = Facades.softmax(Arrays.copyOfRange(logits, from, from + model.vocabulary()));
      List<Candidate> best =
          IntStream.range(0, p.length)
              .boxed()
              .sorted(Comparator.comparingDouble((Integer id) -> p[id]).reversed())
              .limit(top)
              .map(id -> new Candidate(id, token(id), p[id]))
              .toList();
      masks.add(new Mask(input.starts()[places[i]], input.ends()[places[i]], best));
    }
    return masks;
  }

  private Head maskedHead() {
    return model.head().task() == Task.PRETRAINING ? model.head() : Head.masked();
  }

  /** A model may have more rows than the tokenizer has tokens. */
  private String token(int id) {
    return tokenizer == null || id >= tokenizer.size() ? "" : tokenizer.token(id);
  }

  /**
   * Turns texts into vectors.
   *
   * @param texts any
   * @param pooling what becomes of their hidden states
   * @param normalize whether the vectors have length 1, so that a product is their cosine
   * @return a vector of each, as wide as the model
   */
  public float[][] embed(List<String> texts, Pooling pooling, boolean normalize) {
    return embed(pooling, normalize, encodeAll(texts));
  }

  /**
   * Turns texts into vectors.
   *
   * @param pooling what becomes of their hidden states
   * @param normalize whether the vectors have length 1
   * @param inputs the texts
   * @return a vector of each, as wide as the model
   */
  public float[][] embed(Pooling pooling, boolean normalize, Encoding... inputs) {
    List<float[]> vectors = run(pooling == Pooling.MEAN ? Head.mean() : Head.first(), inputs);
    if (normalize) {
      vectors.forEach(Encoder::normalize);
    }
    return vectors.toArray(float[][]::new);
  }

  private static void normalize(float[] vector) {
    double squares = 0;
    for (float x : vector) {
      squares += (double) x * x;
    }
    double length = Math.max(Math.sqrt(squares), 1e-12); // of zeros, zeros
    for (int i = 0; i < vector.length; i++) {
      vector[i] = (float) (vector[i] / length);
    }
  }

  private Encoding[] encodeAll(List<String> texts) {
    return texts.stream().map(this::encode).toArray(Encoding[]::new);
  }

  private List<float[]> run(Head head, Encoding... inputs) {
    int[] none = {};
    return runner.run(
        head,
        Arrays.stream(inputs)
            .map(input -> new TaskRunner.Input(input.ids(), input.types(), none))
            .toList());
  }

  /**
   * Classifies texts.
   *
   * @param texts any
   * @return the labels of each, the likeliest first; of a regression in their own order
   * @throws IllegalArgumentException where the model has no classifier of texts
   */
  public List<List<Label>> classify(List<String> texts) {
    return classify(encodeAll(texts));
  }

  /**
   * Classifies a text.
   *
   * @param text any
   * @return the labels, the likeliest first; of a regression in their own order
   */
  public List<Label> classify(String text) {
    return classify(encode(text)).get(0);
  }

  /**
   * Classifies a pair of texts.
   *
   * @param text any
   * @param second any
   * @return the labels, the likeliest first; of a regression in their own order
   */
  public List<Label> classify(String text, String second) {
    return classify(encode(text, second)).get(0);
  }

  /**
   * Classifies texts, or pairs of them.
   *
   * @param inputs any
   * @return the labels of each, the likeliest first; of a regression in their own order
   */
  public List<List<Label>> classify(Encoding... inputs) {
    require(Task.SEQUENCE, "classifies texts");
    return run(model.head(), inputs).stream().map(this::labels).toList();
  }

  private void require(Task task, String does) {
    if (model.head().task() != task) {
      throw new IllegalArgumentException(
          "the model's head is for " + model.head().task() + "; one for " + task + " " + does);
    }
  }

  private List<Label> labels(float[] logits) {
    Loss loss = model.head().loss();
    double[] scores = Facades.softmax(logits);
    for (int i = 0; i < scores.length && loss != Loss.CROSS_ENTROPY; i++) {
      scores[i] = loss == Loss.SQUARED_ERROR ? logits[i] : 1 / (1 + Math.exp(-logits[i]));
    }
    List<Label> all = new ArrayList<>();
    for (int i = 0; i < scores.length; i++) {
      all.add(new Label(i, name(i), scores[i]));
    }
    if (loss != Loss.SQUARED_ERROR) {
      all.sort(Comparator.comparingDouble(Label::score).reversed());
    }
    return List.copyOf(all);
  }

  private String name(int label) {
    return label < labels.size() ? labels.get(label) : "LABEL_" + label;
  }

  /**
   * Labels the words of a text: a word has the label of its first token (Devlin et al. 2019,
   * section 5.3). What is longer than the context is read in windows that overlap by half; a
   * token's label comes from the window in which it is further from the edge.
   *
   * @param text any
   * @return its words in order
   * @throws IllegalArgumentException where the model has no classifier of tokens
   */
  public List<Tag> tag(String text) {
    Encoding input = tokenizer().encoding(text);
    List<Tag> words = new ArrayList<>();
    for (TokenLabel token : tokenLabels(input)) {
      int start = input.starts()[token.place];
      int end = input.ends()[token.place];
      Tag last = words.isEmpty() ? null : words.get(words.size() - 1);
      if (last != null && last.end >= start && continues(text, start, input.ids()[token.place])) {
        int whole = Math.max(last.end, end);
        String word = text.substring(last.start, whole);
        words.set(words.size() - 1, new Tag(last.start, whole, word, last.label, last.score));
      } else {
        words.add(new Tag(start, end, text.substring(start, end), token.label, token.score));
      }
    }
    return words;
  }

  /** Whether a token that follows another without a space belongs to the same word. */
  private boolean continues(String text, int start, int id) {
    return tokenizer.special(SpecialToken.CLASS).isPresent()
        ? tokenizer.token(id).startsWith("##")
        : start > 0
            && start < text.length()
            && Character.isLetterOrDigit(text.charAt(start))
            && Character.isLetterOrDigit(text.charAt(start - 1));
  }

  /**
   * Labels the tokens of a text.
   *
   * @param input any, longer than the context too
   * @return its tokens in order, without the template's
   * @throws IllegalArgumentException where the model has no classifier of tokens
   */
  public List<Tag> tag(Encoding input) {
    return tokenLabels(input).stream()
        .map(
            token ->
                new Tag(
                    input.starts()[token.place],
                    input.ends()[token.place],
                    "",
                    token.label,
                    token.score))
        .toList();
  }

  private record TokenLabel(int place, String label, double score) {}

  private List<TokenLabel> tokenLabels(Encoding input) {
    require(Task.TOKENS, "labels words");
    Windows windows = Windows.of(input, model.context());
    List<float[]> logits = run(model.head(), windows.inputs());
    int labels = model.head().labels();
    List<TokenLabel> all = new ArrayList<>();
    for (int i = 0; i < input.length(); i++) {
      if (!input.special(i)) {
        int window = windows.of(i);
        int from = windows.place(i, window) * labels;
        double[] p = Facades.softmax(Arrays.copyOfRange(logits.get(window), from, from + labels));
        int best = Facades.likeliest(p);
        all.add(new TokenLabel(i, name(best), p[best]));
      }
    }
    return all;
  }

  /**
   * Finds the answer to a question in a context (Devlin et al. 2019, sections 4.2 and 4.3). A
   * context that is too long is read in windows, of which up to 128 tokens overlap; the answer has
   * the best score of all.
   *
   * @param question shorter than the model's context
   * @param context any
   * @param orNone whether there may be none: where no answer scores more than the null answer
   * @return the answer, of at most 30 tokens
   * @throws IllegalArgumentException where the model has no head for answers, or no room is left
   *     beside the question
   */
  public Answer answer(String question, String context, boolean orNone) {
    require(Task.SPAN, "answers questions");
    int added = tokenizer().encoding("", "").length();
    int room = model.context() - added - tokenizer().encode(question).length;
    int overlap = Math.max(0, Math.min(OVERLAP, room / 2));
    List<Encoding> windows = tokenizer().windows(question, context, model.context(), overlap);
    Answer found = answer(orNone, windows.toArray(Encoding[]::new));
    String text = context.substring(found.start, found.end);
    return new Answer(found.start, found.end, text, found.score, found.nullScore);
  }

  /**
   * Finds the answer to a question in the windows of a context.
   *
   * @param orNone whether there may be none: where no answer scores more than the null answer
   * @param windows each with the question before it; the second text is searched
   * @return the answer, without its text
   */
  public Answer answer(boolean orNone, Encoding... windows) {
    require(Task.SPAN, "answers questions");
    if (windows.length == 0) {
      throw new IllegalArgumentException("there is no context");
    }
    List<float[]> logits = run(model.head(), windows);
    Answer best = new Answer(0, 0, "", Double.NEGATIVE_INFINITY, 0);
    double nullScore = Double.POSITIVE_INFINITY;
    for (int w = 0; w < windows.length; w++) {
      float[] scores = logits.get(w);
      Encoding window = windows[w];
      int length = window.length();
      nullScore = Math.min(nullScore, scores[0] + scores[length]);
      for (int i = 0; i < length; i++) {
        for (int j = i; j < Math.min(length, i + MOST_ANSWER); j++) {
          if (window.sequences()[i] != 1 || window.sequences()[j] != 1) {
            break;
          }
          double score = scores[i] + scores[length + j];
          if (score > best.score) {
            best = new Answer(window.starts()[i], window.ends()[j], "", score, 0);
          }
        }
      }
    }
    boolean none = Double.isInfinite(best.score) || orNone && nullScore >= best.score;
    return none
        ? new Answer(0, 0, "", nullScore, nullScore)
        : new Answer(best.start, best.end, "", best.score, nullScore);
  }

  /**
   * Weighs the choices that could go on from a prompt.
   *
   * @param prompt any
   * @param choices at least one
   * @return the probability of each; they add up to 1
   * @throws IllegalArgumentException where the model has no head for choices
   */
  public double[] choose(String prompt, List<String> choices) {
    return choose(choices.stream().map(choice -> encode(prompt, choice)).toArray(Encoding[]::new));
  }

  /**
   * Weighs choices.
   *
   * @param choices at least one, each with its prompt
   * @return the probability of each; they add up to 1
   */
  public double[] choose(Encoding... choices) {
    require(Task.CHOICE, "chooses");
    if (choices.length == 0) {
      throw new IllegalArgumentException("there are no choices");
    }
    List<float[]> logits = run(Head.choice(1), choices);
    float[] scores = new float[choices.length];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = logits.get(i)[0];
    }
    return Facades.softmax(scores);
  }

  /**
   * Saves the model in Hugging Face's layout.
   *
   * @param folder is made where it is not there
   * @throws IOException where it cannot be written; what was there stays
   */
  public void save(Path folder) throws IOException {
    Files.createDirectories(folder);
    if (tokenizer != null) {
      tokenizer.save(folder);
    }
    ModelFiles.save(model, labels, folder);
  }

  /** Closes the model. Closing twice is harmless. */
  @Override
  public void close() {
    runner.close();
    model.close();
    if (owned != null) {
      owned.close();
    }
  }
}
