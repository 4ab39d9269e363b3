package dev.sinter.generate;

import dev.sinter.text.TokenDecoder;
import dev.sinter.text.Tokenizer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/** A completion as it grows: its tokens, its text, and why it ended. */
final class Progress {
  /** What stands for a tokenizer where there are ids alone. */
  private static final TokenDecoder NO_TEXT =
      new TokenDecoder() {
        @Override
        public String push(int id) {
          return "";
        }

        @Override
        public String flush() {
          return "";
        }
      };

  private final Sequence sequence;
  private final FinishReason atLimit;
  private final TokenDecoder text;
  private final StopTexts stops;
  private final List<Token> tokens = new ArrayList<>();
  private final StringBuilder all = new StringBuilder();
  private FinishReason finishReason;

  /**
   * @param tokenizer null: no text
   */
  Progress(Sequence sequence, int context, Ending ending, Tokenizer tokenizer) {
    this.sequence = sequence;
    this.atLimit = ending.atLimit(sequence.promptLength(), context);
    this.text = tokenizer == null ? NO_TEXT : tokenizer.decoder();
    this.stops = new StopTexts(ending.stop());
  }

  /**
   * The sequence of a prompt.
   *
   * @throws IllegalArgumentException for a prompt that is empty or leaves no room, and for stop
   *     texts where there is no text
   */
  static Sequence sequence(int row, int[] prompt, int context, Ending ending, Tokenizer tokenizer) {
    if (prompt.length == 0) {
      throw new IllegalArgumentException("the prompt is empty; it needs at least one token");
    }
    if (tokenizer == null && !ending.stop().isEmpty()) {
      throw new IllegalArgumentException("stop texts need a tokenizer; end tokens need none");
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
    return new Sequence(
        row, prompt, ending.limit(prompt.length, context), endTokens(ending, tokenizer), prompt);
  }

  /** The ids that end a completion. */
  static Set<Integer> endTokens(Ending ending, Tokenizer tokenizer) {
    if (!ending.tokens().isEmpty() || tokenizer == null || tokenizer.endOfText().isEmpty()) {
      return ending.tokens();
    }
    return Set.of(tokenizer.endOfText().getAsInt());
  }

  /** Takes the token that the sequence has now as its last. */
  Token add(float logprob) {
    int id = sequence.id(sequence.length() - 1);
    String piece;
    if (sequence.endTokens().contains(id)) {
      finishReason = FinishReason.END_OF_TEXT;
      piece = stops.push(text.flush()) + stops.flush();
    } else {
      piece = stops.push(text.push(id));
      if (stops.met()) {
        finishReason = FinishReason.STOP;
      } else if (sequence.length() >= sequence.maxLength()) {
        finishReason = atLimit;
        piece += stops.push(text.flush()) + stops.flush();
      }
    }
    Token token = new Token(id, piece, logprob);
    tokens.add(token);
    all.append(piece);
    return token;
  }

  Sequence sequence() {
    return sequence;
  }

  boolean ended() {
    return finishReason != null;
  }

  int tokens() {
    return tokens.size();
  }

  /** The sum of the log-probabilities. */
  private double score() {
    return tokens.stream().mapToDouble(Token::logprob).sum();
  }

  Completion completion(double score, Duration prefill, Duration decode) {
    return completion(score, prefill, decode, Duration.ZERO, 0, 0, 0);
  }

  Completion completion(Duration prefill, Duration decode) {
    return completion(score(), prefill, decode);
  }

  /** Of an engine. */
  Completion completion(
      Duration prefill, Duration decode, Duration queue, int cached, int proposed, int accepted) {
    return completion(score(), prefill, decode, queue, cached, proposed, accepted);
  }

  private Completion completion(
      double score,
      Duration prefill,
      Duration decode,
      Duration queue,
      int cached,
      int proposed,
      int accepted) {
    return new Completion(
        all.toString(),
        tokens,
        finishReason == null ? FinishReason.CANCELLED : finishReason,
        score,
        sequence.promptLength(),
        prefill,
        decode,
        queue,
        cached,
        proposed,
        accepted);
  }
}
