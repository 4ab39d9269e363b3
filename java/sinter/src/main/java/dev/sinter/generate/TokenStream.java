package dev.sinter.generate;

import dev.sinter.model.Decoder;
import dev.sinter.model.LanguageModel;
import dev.sinter.text.TokenDecoder;
import dev.sinter.text.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;

/**
 * A completion as it comes, token by token. Closing it early frees its cache. To be used by one
 * thread at a time; many streams may share a model.
 */
public final class TokenStream implements Iterable<Token>, AutoCloseable {
  private final Sampling sampling;
  private final int context;
  private final int endOfText;
  private final int promptTokens;
  private final Decoder decoder;
  private final TokenDecoder text;
  private final StopTexts stops;
  private final Runnable onClose;
  private final List<Token> tokens = new ArrayList<>();
  private final StringBuilder all = new StringBuilder();
  private final float[] logprob = new float[1];
  private int[] fed;
  private FinishReason finishReason;
  private long started;
  private long first;
  private long last;
  private boolean closed;

  /**
   * Starts a completion; the prompt is computed with the first token.
   *
   * @param model whose weights
   * @param tokenizer of the model
   * @param prompt at least one token, less than the model's context
   * @param sampling how tokens are chosen
   * @param onClose called once when the stream is closed
   * @throws IllegalArgumentException for a prompt that is empty or does not fit
   */
  public TokenStream(
      LanguageModel model, Tokenizer tokenizer, int[] prompt, Sampling sampling, Runnable onClose) {
    this.sampling = sampling;
    this.context = model.config().context();
    this.endOfText = tokenizer.endOfText().orElse(-1);
    this.promptTokens = prompt.length;
    this.onClose = onClose;
    if (prompt.length == 0) {
      throw new IllegalArgumentException("the prompt is empty; it needs at least one token");
    }
    if (prompt.length >= context) {
      throw new IllegalArgumentException(
          "the prompt has "
              + prompt.length
              + " tokens; the model's context of "
              + context
              + " leaves room for "
              + (context - 1));
    }
    this.text = tokenizer.decoder();
    this.stops = new StopTexts(sampling.stop());
    this.decoder =
        model.decoder(1, (int) Math.min(context, (long) prompt.length + sampling.maxNewTokens()));
    decoder
        .sampler()
        .set(
            sampling.repetitionPenalty(),
            sampling.temperature(),
            sampling.topK(),
            sampling.topP(),
            sampling.minP());
    decoder.sampler().seed(sampling.seed());
    for (int token : prompt) {
      decoder.sampler().remember(0, token);
    }
    fed = prompt.clone();
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
    return finishReason == null && !closed;
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
    int id = decoder.next(fed, tokens.size())[0];
    last = System.nanoTime();
    if (tokens.isEmpty()) {
      first = last;
    }
    if (id < 0) {
      throw new ArithmeticException(
          "the model gives no finite logit after "
              + (promptTokens + tokens.size())
              + " tokens; its weights are damaged or training diverged");
    }
    decoder.sampler().logprobs(logprob);
    Token token = finish(id, logprob[0]);
    tokens.add(token);
    all.append(token.text());
    if (finishReason == null) {
      decoder.sampler().remember(0, id);
      fed = fed.length == 1 ? fed : new int[1];
      fed[0] = id;
    }
    return token;
  }

  private Token finish(int id, float logprobOfToken) {
    if (id == endOfText) {
      finishReason = FinishReason.END_OF_TEXT;
      return new Token(id, stops.push(text.flush()) + stops.flush(), logprobOfToken);
    }
    String piece = stops.push(text.push(id));
    if (stops.met()) {
      finishReason = FinishReason.STOP;
    } else if (tokens.size() + 1 >= sampling.maxNewTokens()) {
      finishReason = FinishReason.LENGTH;
    } else if (promptTokens + tokens.size() + 1 >= context) {
      finishReason = FinishReason.CONTEXT;
    }
    if (finishReason == FinishReason.LENGTH || finishReason == FinishReason.CONTEXT) {
      piece += stops.push(text.flush());
      piece += stops.flush();
    }
    return new Token(id, piece, logprobOfToken);
  }

  /**
   * Says what has been generated so far.
   *
   * @return the completion; its reason is {@link FinishReason#CANCELLED} before the end
   */
  public Completion completion() {
    return new Completion(
        all.toString(),
        tokens,
        finishReason == null ? FinishReason.CANCELLED : finishReason,
        promptTokens,
        Duration.ofNanos(first - started),
        Duration.ofNanos(last - first));
  }

  /** Frees the cache. Closing twice is harmless. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      decoder.close();
      onClose.run();
    }
  }
}
