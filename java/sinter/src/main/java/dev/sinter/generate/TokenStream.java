package dev.sinter.generate;

import dev.sinter.model.LanguageModel;
import dev.sinter.text.Tokenizer;
import java.time.Duration;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;

/**
 * A completion as it comes, token by token. Closing it early frees its cache. To be used by one
 * thread at a time; many streams may share a model.
 */
public final class TokenStream implements Iterable<Token>, AutoCloseable {
  private final Progress progress;
  private final Rows rows;
  private final Runnable onClose;
  private long started;
  private long first;
  private long last;
  private boolean closed;

  /**
   * Starts a completion; the prompt is computed with the first token.
   *
   * @param model whose weights
   * @param tokenizer of the model; null: tokens have ids and no text
   * @param prompt at least one token, less than the model's context
   * @param sampling how tokens are chosen
   * @param onClose called once when the stream is closed
   * @throws IllegalArgumentException for a prompt that is empty or does not fit
   */
  public TokenStream(
      LanguageModel model, Tokenizer tokenizer, int[] prompt, Sampling sampling, Runnable onClose) {
    this.onClose = onClose;
    int context = model.config().context();
    Sequence sequence = Progress.sequence(0, prompt, context, sampling.ending(), tokenizer);
    progress = new Progress(sequence, context, sampling.ending(), tokenizer);
    rows = new Rows(model, List.of(sequence), sampling);
  }

  /** What is left of the completion: every iterator goes on where the stream stands. */
  @Override
  public Iterator<Token> iterator() {
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return TokenStream.this.hasNext();
      }

      @Override
      public Token next() {
        return TokenStream.this.next();
      }
    };
  }

  /**
   * Tells whether there is a token to come.
   *
   * @return false at the end of the completion and after {@link #close}
   */
  public boolean hasNext() {
    return !progress.ended() && !closed;
  }

  /**
   * Generates the next token.
   *
   * @return the token
   * @throws NoSuchElementException after the last one
   * @throws ArithmeticException where the model's logits are not finite
   */
  public Token next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the completion has ended");
    }
    if (started == 0) {
      started = System.nanoTime();
    }
    rows.next();
    last = System.nanoTime();
    if (progress.tokens() == 0) {
      first = last;
    }
    return progress.add(rows.logprob(0));
  }

  /**
   * Says what has been generated so far.
   *
   * @return the completion; its reason is {@link FinishReason#CANCELLED} before the end
   */
  public Completion completion() {
    return progress.completion(Duration.ofNanos(first - started), Duration.ofNanos(last - first));
  }

  /** Frees the cache. Closing twice is harmless. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      rows.close();
      onClose.run();
    }
  }
}
