package dev.sinter.generate;

/** Why a completion ended. */
public enum FinishReason {
  /** As many tokens as {@link Ending} allows are there. */
  LENGTH,
  /** The model's context is full. */
  CONTEXT,
  /** An end token was chosen: the tokenizer's end-of-text, or one of {@link Ending#tokens}. */
  END_OF_TEXT,
  /** A stop text was met. */
  STOP,
  /** The stream was closed before its end. */
  CANCELLED
}
