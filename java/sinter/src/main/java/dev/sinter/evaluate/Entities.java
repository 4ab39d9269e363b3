package dev.sinter.evaluate;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Precision, recall and F1 of entities (CoNLL-2003: Tjong Kim Sang and De Meulder 2003, section
 * 2.4): an entity is right where its start, end and type are.
 */
public final class Entities {
  private Entities() {}

  /** How tags make entities. */
  public enum Scheme {
    /**
     * conlleval's rule, which reads IOB1 and IOB2: an entity starts at B, and at I after O, another
     * type or the sentence's start.
     */
    CONLL,

    /** IOB2 to the letter: an entity starts at B alone; I that continues none is O. */
    IOB2
  }

  /**
   * A part of a sentence.
   *
   * @param type what it is, as PER; "_" where the tags have no type
   * @param start index of the first token
   * @param end index after the last token
   */
  public record Entity(String type, int start, int end) {}

  /**
   * Finds the entities of a sentence.
   *
   * @param tags O, B-TYPE or I-TYPE for each token
   * @param scheme how to read them
   * @return the entities, from left to right
   * @throws IllegalArgumentException where a tag is another
   */
  public static List<Entity> of(List<String> tags, Scheme scheme) {
    List<Entity> entities = new ArrayList<>();
    String open = null;
    int start = 0;
    for (int i = 0; i <= tags.size(); i++) {
      String tag = i < tags.size() ? tags.get(i) : "O";
      String type = type(tag);
      boolean continues = tag.startsWith("I") && type.equals(open);
      if (continues) {
        continue;
      }
      if (open != null) {
        entities.add(new Entity(open, start, i));
      }
      boolean starts = scheme == Scheme.IOB2 ? tag.startsWith("B") : type != null;
      open = starts ? type : null;
      start = i;
    }
    return entities;
  }

  /** The type of a tag, null for O. */
  private static String type(String tag) {
    if (tag.equals("O")) {
      return null;
    }
    if (tag.equals("B") || tag.equals("I")) {
      return "_";
    }
    if (tag.length() > 2 && (tag.startsWith("B-") || tag.startsWith("I-"))) {
      return tag.substring(2);
    }
    throw new IllegalArgumentException("tag \"" + tag + "\"; O, B-TYPE or I-TYPE");
  }

  /**
   * Scores sentences.
   *
   * @param gold the tags of each sentence
   * @param predicted as many tags for each
   * @param scheme how to read them
   * @return scores of each type; {@link LabelReport#micro} is conlleval's overall result
   * @throws IllegalArgumentException where a sentence has not as many tags, or a tag is unknown
   */
  public static LabelReport score(
      List<List<String>> gold, List<List<String>> predicted, Scheme scheme) {
    Check.sameSize("sentences", gold.size(), "predicted ones", predicted.size());
    Map<String, LabelReport.Counts> counts = new HashMap<>();
    for (int i = 0; i < gold.size(); i++) {
      if (gold.get(i).size() != predicted.get(i).size()) {
        throw new IllegalArgumentException(
            String.format(
                "sentence %d has %d tags, %d predicted",
                i + 1, gold.get(i).size(), predicted.get(i).size()));
      }
      List<Entity> there = of(gold.get(i), scheme);
      List<Entity> found = of(predicted.get(i), scheme);
      Set<Entity> correct = new HashSet<>(there);
      correct.retainAll(found);
      count(counts, there, new LabelReport.Counts(0, 0, 1));
      count(counts, found, new LabelReport.Counts(0, 1, 0));
      count(counts, correct, new LabelReport.Counts(1, 0, 0));
    }
    return LabelReport.of(counts);
  }

  /**
   * The table that conlleval prints.
   *
   * @param entities scores of entities
   * @param tags which tag was predicted for which, over the same sentences
   * @return lines, each with its end: counts, overall scores, and each type's
   */
  public static String table(LabelReport entities, Confusion tags) {
    LabelReport.Counts all =
        entities.counts().values().stream()
            .reduce(new LabelReport.Counts(0, 0, 0), LabelReport.Counts::plus);
    Table table = new Table();
    table.add("processed " + tags.total() + " tokens with " + all.gold() + " phrases; ");
    table.add("found: " + all.predicted() + " phrases; correct: " + all.correct() + ".").line();
    table.add("accuracy: " + percent(100.0 * tags.correct() / tags.total()) + "%; ");
    scores(table, all).line();
    entities
        .counts()
        .forEach(
            (type, counts) -> {
              table.right(type, 17).add(": ");
              scores(table, counts).add("  " + counts.predicted()).line();
            });
    return table.toString();
  }

  /** In percent from the start, as conlleval computes: so that what is printed rounds alike. */
  private static Table scores(Table table, LabelReport.Counts counts) {
    double precision = counts.predicted() == 0 ? 0 : 100.0 * counts.correct() / counts.predicted();
    double recall = counts.gold() == 0 ? 0 : 100.0 * counts.correct() / counts.gold();
    double f1 = counts.correct() == 0 ? 0 : 2 * precision * recall / (precision + recall);
    return table
        .add("precision: " + percent(precision) + "%; ")
        .add("recall: " + percent(recall) + "%; ")
        .add("FB1: " + percent(f1));
  }

  private static String percent(double percent) {
    return new Table().right(Table.fixed(percent, 2), "100.00".length()).toString();
  }

  private static void count(
      Map<String, LabelReport.Counts> counts, Iterable<Entity> entities, LabelReport.Counts one) {
    for (Entity entity : entities) {
      counts.merge(entity.type(), one, LabelReport.Counts::plus);
    }
  }
}
