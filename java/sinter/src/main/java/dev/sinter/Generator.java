package dev.sinter;

import dev.sinter.generate.Completion;
import dev.sinter.generate.Engine;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.EngineStream;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Token;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LoadedAdapter;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/**
 * A GPT that only completes, with its tokenizer: packed weights and one {@link Engine} for all
 * callers. It needs less memory than {@link Gpt}, decodes faster, and is safe from many threads,
 * whose texts it computes together.
 *
 * <pre>{@code
 * try (Generator gpt = Generator.load(Path.of("model"))) {
 *   gpt.generate("To be", Sampling.defaults().withTopP(0.9), token -> System.out.print(token.text()));
 * }
 * }</pre>
 */
public final class Generator implements AutoCloseable {
  private final FrozenModel model;
  private final Tokenizer tokenizer;
  private final Engine engine;
  private final Runnable onClose;
  private final AtomicBoolean closed = new AtomicBoolean();

  /**
   * @param model becomes the generator's, whatever comes
   * @param onClose called when the model is closed
   */
  Generator(FrozenModel model, Tokenizer tokenizer, EngineSettings settings, Runnable onClose) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.onClose = onClose;
    try {
      engine = Engine.of(model, tokenizer, settings);
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
  }

  /**
   * Loads a model on the best device that is there, its weights as they are stored.
   *
   * @param folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json, plain
   *     or packed; or one of llama.cpp's files, {@code model.gguf}
   * @return the generator; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Generator load(Path folder) throws IOException {
    return Facades.onBestDevice(
        device -> load(folder, device, null, EngineSettings.defaults(), device::close));
  }

  /**
   * Loads a model.
   *
   * @param folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json, plain
   *     or packed; or one of llama.cpp's files, {@code model.gguf}
   * @param device where; it stays the caller's
   * @param format of the weights; null: as they are stored
   * @param settings of the engine
   * @return the generator; the caller closes it
   * @throws IOException where a file is missing or not what it should be
   */
  public static Generator load(
      Path folder, Device device, WeightFormat format, EngineSettings settings) throws IOException {
    return load(folder, device, format, settings, () -> {});
  }

  private static Generator load(
      Path folder, Device device, WeightFormat format, EngineSettings settings, Runnable onClose)
      throws IOException {
    Tokenizer tokenizer = Tokenizer.load(folder);
    Facades.checkVocabulary(folder, tokenizer, ModelFiles.readConfig(folder).vocabulary());
    return new Generator(FrozenModel.load(folder, device, format), tokenizer, settings, onClose);
  }

  /**
   * Returns the weights.
   *
   * @return the model under the tokenizer
   */
  public FrozenModel model() {
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
   * Returns what computes: for futures, and for requests that are more than a text.
   *
   * @return the engine; it is closed with the generator
   */
  public Engine engine() {
    return engine;
  }

  /**
   * Completes a text.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @return the completion
   * @throws dev.sinter.generate.QueueFullException where as many requests wait as may
   */
  public Completion generate(String prompt, Sampling sampling) {
    return generate(prompt, sampling, token -> {});
  }

  /**
   * Completes a text and hands its tokens over as they come.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @param listener called with each token, by this thread
   * @return the completion
   * @throws dev.sinter.generate.QueueFullException where as many requests wait as may
   */
  public Completion generate(String prompt, Sampling sampling, Consumer<Token> listener) {
    try (EngineStream stream = stream(prompt, sampling)) {
      for (Token token : stream) {
        listener.accept(token);
      }
      return stream.completion().join();
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
    List<Request> requests = new ArrayList<>();
    for (String prompt : prompts) {
      requests.add(Request.of(prompt, sampling.withSeed(sampling.seed() + requests.size())));
    }
    return engine.complete(requests);
  }

  /**
   * Starts the completion of a text.
   *
   * @param prompt at least one token of text, and fewer than the context
   * @param sampling how tokens are chosen
   * @return tokens as they come; the caller closes it, at any time
   * @throws dev.sinter.generate.QueueFullException where as many requests wait as may
   */
  public EngineStream stream(String prompt, Sampling sampling) {
    return engine.stream(Request.of(prompt, sampling));
  }

  /**
   * Reads a low-rank adapter and takes it in, while other requests run: see {@link
   * Engine#loadAdapter}. Requests have it by {@link Request#withAdapter}.
   *
   * @param name under which requests ask for it
   * @param folder in the layout of PEFT: adapter_config.json, adapter_model.safetensors
   * @throws IOException where a file is missing or not what it should be, or the adapter is for
   *     another model, or has more than low-rank updates
   * @throws IllegalArgumentException where there is one of this name
   */
  public void loadAdapter(String name, Path folder) throws IOException {
    engine.loadAdapter(LoadedAdapter.read(name, folder, model));
  }

  /**
   * Takes an adapter out; requests that have it keep it until they end.
   *
   * @param name of the adapter
   * @throws IllegalArgumentException where there is none of this name
   */
  public void unloadAdapter(String name) {
    engine.unloadAdapter(name);
  }

  /** Closes engine and model; what runs ends as cancelled. Closing twice is harmless. */
  @Override
  public void close() {
    if (closed.compareAndSet(false, true)) {
      engine.close();
      model.close();
      onClose.run();
    }
  }
}
