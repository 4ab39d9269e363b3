package dev.sinter.report;

import java.util.List;

/**
 * A sample in the page. Tags stand below their words; of texts with as many words as the right one
 * has, the words that differ are marked.
 */
final class SampleView {
  private SampleView() {}

  static void show(Html html, RunRecord.Sample sample) {
    List<String> input = words(sample.input());
    List<String> gold = words(sample.gold());
    List<String> predicted = words(sample.predicted());
    boolean isTagged = gold.size() == input.size() && gold.size() == predicted.size();
    if (isTagged && !gold.isEmpty() && areTags(gold) && areTags(predicted)) {
      tagged(html, input, gold, predicted);
    } else {
      html.leaf("p", sample.input(), "class", "input", "dir", "auto");
      html.open("dl");
      if (!sample.gold().isEmpty()) {
        html.leaf("dt", "right").leaf("dd", sample.gold(), "dir", "auto");
      }
      html.leaf("dt", "predicted").open("dd", "dir", "auto");
      predicted(html, sample);
      html.close(2);
    }
    if (!sample.note().isEmpty()) {
      html.leaf("p", sample.note(), "class", "note", "dir", "auto");
    }
  }

  /** What was predicted, with what is wrong marked. */
  static void predicted(Html html, RunRecord.Sample sample) {
    List<String> gold = words(sample.gold());
    List<String> predicted = words(sample.predicted());
    if (!sample.isWrong()) {
      html.text(sample.predicted());
    } else if (gold.size() > 1 && gold.size() == predicted.size()) {
      marked(html, gold, predicted);
    } else {
      html.leaf("mark", sample.predicted());
    }
  }

  private static List<String> words(String text) {
    return text.isBlank() ? List.of() : List.of(text.strip().split("\\s+"));
  }

  private static boolean areTags(List<String> words) {
    return words.stream().allMatch(word -> word.equals("O") || word.matches("[BI](-.+)?"));
  }

  private static void tagged(
      Html html, List<String> words, List<String> gold, List<String> predicted) {
    html.open("p", "class", "tagged", "dir", "auto");
    for (int i = 0; i < words.size(); i++) {
      boolean isRight = gold.get(i).equals(predicted.get(i));
      boolean isOutside = isRight && gold.get(i).equals("O");
      html.open("span", "class", isOutside ? "outside" : isRight ? "tag" : "tag mistaken");
      html.leaf("span", words.get(i));
      if (!isOutside) {
        String not = isRight ? "" : ", not " + predicted.get(i);
        html.leaf("small", gold.get(i) + not);
      }
      html.close().text(" ");
    }
    html.close();
  }

  private static void marked(Html html, List<String> gold, List<String> predicted) {
    for (int i = 0; i < gold.size(); i++) {
      html.text(i == 0 ? "" : " ");
      if (gold.get(i).equals(predicted.get(i))) {
        html.text(predicted.get(i));
      } else {
        html.leaf("mark", predicted.get(i));
      }
    }
  }
}
