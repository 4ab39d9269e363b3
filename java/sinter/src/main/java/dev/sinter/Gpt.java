package dev.sinter;

import dev.sinter.evaluate.Scorer;
import dev.sinter.generate.Batch;
import dev.sinter.generate.BeamSearch;
import dev.sinter.generate.Beams;
import dev.sinter.generate.Completion;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Token;
import dev.sinter.generate.TokenStream;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.Trainer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/**
 * A GPT with its tokenizer: completes, scores and trains. Completing and scoring are safe from many
 * threads; training is for one thread while nothing else uses the model. Where texts are only to be
 * completed, {@link Generator} needs less memory and time.
 *
 * <pre>{@code
 * try (Gpt gpt = Gpt.load(Path.of("model"))) {
 *   gpt.generate("To be", Sampling.defaults().withTopP(0.9), token -> System.out.print(token.text()));
 * }
 * }</pre>
 */
public final class Gpt implements AutoCloseable {
  private final LanguageModel model;
  private final Tokenizer tokenizer;
  private final Device owned;
  private final AtomicBoolean closed = new AtomicBoolean();
  private final AtomicInteger users = new AtomicInteger(1);

  private Gpt(LanguageModel model, Tokenizer tokenizer, Device owned) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.owned = owned;
  }

  /**
   * Loads a model on the best device that is there, in fp32.
   *
   * @param folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json; or one
   *     of llama.cpp's files, {@code model.gguf}
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Gpt load(Path folder) throws IOException {
    return Facades.onBestDevice(device -> load(folder, device, DType.F32, device));
  }

  /**
   * Loads a model.
   *
   * @param folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json; or one
   *     of llama.cpp's files, {@code model.gguf}
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights: fp32 or bf16
   * @return the model; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Gpt load(Path folder, Device device, DType dtype) throws IOException {
    return load(folder, device, dtype, null);
  }

  private static Gpt load(Path folder, Device device, DType dtype, Device owned)
      throws IOException {
    Tokenizer tokenizer = Tokenizer.load(folder);
    GptConfig config = ModelFiles.readConfig(folder);
    Facades.checkVocabulary(folder, tokenizer, config.vocabulary());
    return new Gpt(ModelFiles.load(folder, device, dtype), tokenizer, owned);
  }

  /**
   * Creates a model with random weights.
   *
   * @param config its shape; the vocabulary must hold the tokenizer's
   * @param tokenizer of its texts
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights: fp32 or bf16
   * @param seed of the weights
   * @return the model; the caller closes it
   */
  public static Gpt create(
      GptConfig config, Tokenizer tokenizer, Device device, DType dtype, long seed) {
    if (tokenizer.size() > config.vocabulary()) {
      throw new IllegalArgumentException(
          "the tokenizer has "
              + tokenizer.size()
              + " tokens, the model a vocabulary of "
              + config.vocabulary()
              + "; make it at least as large");
    }
    return new Gpt(LanguageModel.create(config, device, dtype, seed), tokenizer, null);
  }

  /**
   * Returns the weights and graphs.
   *
   * @return the model under the tokenizer
   */
  public LanguageModel model() {
    return model;
  }

  /**
   * Returns the tokenizer.
   *
   * @return of this model's texts
   */
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /**
   * Completes a text.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @return the completion
   */
  public Completion generate(String prompt, Sampling sampling) {
    return generate(prompt, sampling, token -> {});
  }

  /**
   * Completes a text and hands its tokens over as they come.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @param listener called with each token
   * @return the completion
   */
  public Completion generate(String prompt, Sampling sampling, Consumer<Token> listener) {
    try (TokenStream stream = stream(prompt, sampling)) {
      for (Token token : stream) {
        listener.accept(token);
      }
      return stream.completion();
    }
  }

  /**
   * Completes several texts together: each as it would be alone, with the seed of the settings plus
   * its number.
   *
   * @param prompts each at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @return a completion of each
   */
  public List<Completion> generate(List<String> prompts, Sampling sampling) {
    acquire();
    try {
      return Batch.complete(
          model, tokenizer, prompts.stream().map(tokenizer::encode).toList(), sampling);
    } finally {
      release();
    }
  }

  /**
   * Completes a text by beam search.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling end, and processors; those of sampling must be off
   * @param beams how the search goes
   * @return completions, the best first
   */
  public List<Completion> generate(String prompt, Sampling sampling, Beams beams) {
    acquire();
    try {
      return BeamSearch.complete(model, tokenizer, tokenizer.encode(prompt), sampling, beams);
    } finally {
      release();
    }
  }

  /**
   * Starts the completion of a text.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @return tokens as they come; the caller closes it, at any time
   */
  public TokenStream stream(String prompt, Sampling sampling) {
    acquire();
    try {
      return new TokenStream(model, tokenizer, tokenizer.encode(prompt), sampling, this::release);
    } catch (RuntimeException e) {
      release();
      throw e;
    }
  }

  /**
   * Packs a copy of the weights for many callers. What this model learns later it does not know.
   *
   * @param format of the copy
   * @param settings of its engine
   * @return the generator; the caller closes it. As long as it is open, so is this model
   */
  public Generator generator(WeightFormat format, EngineSettings settings) {
    acquire();
    try {
      return new Generator(FrozenModel.of(model, format), tokenizer, settings, this::release);
    } catch (RuntimeException e) {
      release();
      throw e;
    }
  }

  /**
   * Scores a text.
   *
   * @param text at least one token, at most the context
   * @param top how many of the likeliest tokens to report at each place
   * @return a score for each token
   */
  public List<Scorer.Score> score(String text, int top) {
    acquire();
    try {
      return Scorer.score(model, tokenizer.encode(text), top);
    } finally {
      release();
    }
  }

  /**
   * Prepares a training of this model.
   *
   * @return a trainer with default settings
   */
  public Trainer trainer() {
    acquire();
    release();
    return Trainer.of(model);
  }

  /**
   * Saves the model in Hugging Face's layout.
   *
   * @param folder is made where it is not there
   * @throws IOException where it cannot be written; what was there stays
   */
  public void save(Path folder) throws IOException {
    acquire();
    try {
      Files.createDirectories(folder);
      ModelFiles.writeConfig(model.config(), tokenizer.endOfText(), folder);
      tokenizer.save(folder);
      ModelFiles.writeWeights(model, folder);
    } finally {
      release();
    }
  }

  private void acquire() {
    users.incrementAndGet();
    if (closed.get()) {
      release();
      throw new IllegalStateException("the model is closed");
    }
  }

  private void release() {
    // A late acquire may bring the count back from zero: freeing twice is harmless.
    if (users.decrementAndGet() == 0) {
      model.close();
      if (owned != null) {
        owned.close();
      }
    }
  }

  /**
   * Closes the model; its memory is freed when the last open stream is closed. Closing twice is
   * harmless.
   */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      release();
    }
  }
}
