package dev.sinter.text;

import java.util.Collection;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Tokens and their ids, and which of them have a part of their own. */
final class Vocabulary {
  private final String[] tokens;
  private final Map<String, Integer> ids = new HashMap<>();
  private final List<AddedToken> added;
  private final Set<String> outside;
  private final Map<SpecialToken, Integer> roles = new EnumMap<>(SpecialToken.class);

  /**
   * Puts the parts together.
   *
   * @param tokens by id
   * @param added tokens that stand for themselves; their ids are among the others
   * @param outside those of them that the model's own vocabulary does not have
   * @param roles what the files call special tokens; usual names are found without
   */
  Vocabulary(
      String[] tokens,
      Collection<AddedToken> added,
      Set<String> outside,
      Map<SpecialToken, String> roles) {
    this.tokens = tokens;
    this.added = List.copyOf(added);
    this.outside = Set.copyOf(outside);
    for (int id = 0; id < tokens.length; id++) {
      ids.put(tokens[id], id);
    }
    for (SpecialToken role : SpecialToken.values()) {
      String name = roles.get(role);
      if (name != null && ids.containsKey(name)) {
        this.roles.put(role, ids.get(name));
      } else {
        role.usual().stream()
            .filter(this::special)
            .findFirst()
            .ifPresent(usual -> this.roles.put(role, ids.get(usual)));
      }
    }
  }

  static Vocabulary of(String[] tokens) {
    return new Vocabulary(tokens, List.of(), Set.of(), Map.of());
  }

  int size() {
    return tokens.length;
  }

  String token(int id) {
    return tokens[id];
  }

  Integer id(String token) {
    return ids.get(token);
  }

  Integer id(SpecialToken role) {
    return roles.get(role);
  }

  List<AddedToken> added() {
    return added;
  }

  boolean special(String token) {
    return added.stream().anyMatch(one -> one.special() && one.content().equals(token));
  }

  boolean outside(String token) {
    return outside.contains(token);
  }

  /** The ids that text can become: without special tokens. */
  Map<String, Integer> plain() {
    Map<String, Integer> plain = new HashMap<>(ids);
    added.stream().filter(AddedToken::special).forEach(one -> plain.remove(one.content()));
    return plain;
  }
}
