package dev.sinter.model;

import java.util.List;
import java.util.Objects;

/**
 * A low-rank adapter on the host, as it was read: for a model whose weights stay as they are, which
 * can have many, each request its own.
 *
 * @param name under which requests ask for it
 * @param updates of weights; those of one weight add up
 */
public record LoadedAdapter(String name, List<LowRankUpdate> updates) {
  /** Checks that it has a name. */
  public LoadedAdapter {
    Objects.requireNonNull(name, "name");
    if (name.isBlank()) {
      throw new IllegalArgumentException("an adapter needs a name that is not blank");
    }
    updates = List.copyOf(updates);
  }
}
