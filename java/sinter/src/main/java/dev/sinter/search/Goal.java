package dev.sinter.search;

import java.util.Comparator;

/** What a better metric is. */
public enum Goal {
  /** The greater, as of an accuracy. */
  MAXIMIZE,
  /** The lesser, as of a loss. */
  MINIMIZE;

  /** The better first, and behind all what is no number: such a trial has failed. */
  Comparator<Double> bestFirst() {
    Comparator<Double> order =
        this == MAXIMIZE ? Comparator.reverseOrder() : Comparator.naturalOrder();
    return Comparator.comparing((Double metric) -> metric.isNaN()).thenComparing(order);
  }
}
