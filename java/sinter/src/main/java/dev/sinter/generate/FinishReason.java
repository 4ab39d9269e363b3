package dev.sinter.generate;

/** Why a completion ended. */
public enum FinishReason {
  /** {@code maxNewTokens} were generated. */
  LENGTH,
  /** The model's context is full. */
  CONTEXT,
  /** The tokenizer's end-of-text token was chosen. */
  END_OF_TEXT,
  /** A stop text was met. */
  STOP,
  /** The stream was closed before its end. */
  CANCELLED
}
