package dev.sinter.model;

/**
 * What stands on a model's hidden states.
 *
 * @param task what it computes
 * @param labels of a classifier; choices of a question; 1 where there is nothing to count
 * @param loss of a classifier of sequences; the other tasks have one each
 */
public record Head(Task task, int labels, Loss loss) {
  static final int MOST_LABELS = 1 << 20;

  /** The tasks, with Hugging Face's class in brackets. */
  public enum Task {
    /** The tokens behind masks (BertForMaskedLM). */
    MASKED,
    /** The same, and whether the second segment follows the first (BertForPreTraining). */
    PRETRAINING,
    /** A label, or several, or a number for each sequence (…ForSequenceClassification). */
    SEQUENCE,
    /** A label for each token (…ForTokenClassification). */
    TOKENS,
    /** Where an answer starts and ends (BertForQuestionAnswering). */
    SPAN,
    /** Which of several sequences is the right one (BertForMultipleChoice). */
    CHOICE,
    /** A vector for each sequence: the mean of its tokens' (sentence embeddings). */
    MEAN,
    /** A vector for each sequence: its first token's. */
    FIRST
  }

  /** How a classifier of sequences is judged: Hugging Face's {@code problem_type}. */
  public enum Loss {
    /** One label of several. */
    CROSS_ENTROPY,
    /** Any number of labels, each by itself. */
    BINARY_CROSS_ENTROPY,
    /** Numbers. */
    SQUARED_ERROR
  }

  /** Checks the number of labels. */
  public Head {
    Sizes.check("labels", labels, MOST_LABELS);
  }

  /**
   * Masked tokens.
   *
   * @return the head
   */
  public static Head masked() {
    return new Head(Task.MASKED, 1, Loss.CROSS_ENTROPY);
  }

  /**
   * Masked tokens and next sentence.
   *
   * @return the head
   */
  public static Head pretraining() {
    return new Head(Task.PRETRAINING, 1, Loss.CROSS_ENTROPY);
  }

  /**
   * A label for each sequence.
   *
   * @param labels how many there are
   * @return the head
   */
  public static Head sequence(int labels) {
    return new Head(Task.SEQUENCE, labels, Loss.CROSS_ENTROPY);
  }

  /**
   * A label for each token.
   *
   * @param labels how many there are
   * @return the head
   */
  public static Head tokens(int labels) {
    return new Head(Task.TOKENS, labels, Loss.CROSS_ENTROPY);
  }

  /**
   * Start and end of an answer.
   *
   * @return the head
   */
  public static Head span() {
    return new Head(Task.SPAN, 2, Loss.CROSS_ENTROPY);
  }

  /**
   * One of several sequences.
   *
   * @param choices how many there are
   * @return the head
   */
  public static Head choice(int choices) {
    return new Head(Task.CHOICE, choices, Loss.CROSS_ENTROPY);
  }

  /**
   * A vector for each sequence: the mean of its tokens' last hidden states.
   *
   * @return the head
   */
  public static Head mean() {
    return new Head(Task.MEAN, 1, Loss.CROSS_ENTROPY);
  }

  /**
   * A vector for each sequence: the last hidden state of its first token, [CLS] in BERT.
   *
   * @return the head
   */
  public static Head first() {
    return new Head(Task.FIRST, 1, Loss.CROSS_ENTROPY);
  }

  /**
   * The same with another loss.
   *
   * @param other of a classifier of sequences
   * @return the head
   */
  public Head withLoss(Loss other) {
    return new Head(task, labels, other);
  }

  /** Whether it reads one vector a sequence. */
  boolean isPooled() {
    return switch (task) {
      case PRETRAINING, SEQUENCE, CHOICE -> true;
      default -> false;
    };
  }

  /** Whether it reads chosen tokens of each sequence. */
  boolean isMasked() {
    return task == Task.MASKED || task == Task.PRETRAINING;
  }
}
