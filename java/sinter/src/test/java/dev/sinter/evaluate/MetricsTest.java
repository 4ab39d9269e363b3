package dev.sinter.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.evaluate.Entities.Entity;
import dev.sinter.evaluate.Entities.Scheme;
import dev.sinter.evaluate.MultipleChoice.Ending;
import dev.sinter.evaluate.MultipleChoice.Question;
import dev.sinter.evaluate.MultipleChoice.Rule;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** What follows from the definitions, and cases by hand. */
class MetricsTest {
  private static List<String> tags(String tags) {
    return List.of(tags.split(" "));
  }

  @Test
  void anEntityOfIob1StartsAtIUnlessItsNeighbourIsOfItsType() {
    assertEquals(
        List.of(new Entity("PER", 0, 2), new Entity("PER", 2, 3), new Entity("LOC", 3, 4)),
        Entities.of(tags("I-PER I-PER B-PER I-LOC O"), Scheme.CONLL));
    assertEquals(
        List.of(new Entity("PER", 2, 3)),
        Entities.of(tags("I-PER I-PER B-PER I-LOC O"), Scheme.IOB2));
    assertEquals(List.of(new Entity("_", 0, 2)), Entities.of(tags("B I O"), Scheme.IOB2));
    assertEquals(List.of(), Entities.of(List.of(), Scheme.CONLL));
  }

  @Test
  void anEntityEndsWithItsSentence() {
    LabelReport report =
        Entities.score(
            List.of(tags("B-PER"), tags("I-PER")),
            List.of(tags("B-PER"), tags("B-PER")),
            Scheme.CONLL);
    assertEquals(new LabelReport.Scores(1, 1, 1, 2), report.micro());
  }

  @Test
  void unknownTagsAndLengthsThatDifferAreErrors() {
    assertThrows(IllegalArgumentException.class, () -> Entities.of(tags("O X-PER"), Scheme.CONLL));
    assertThrows(IllegalArgumentException.class, () -> Entities.of(tags("I-"), Scheme.CONLL));
    assertThrows(
        IllegalArgumentException.class,
        () -> Entities.score(List.of(tags("O O")), List.of(tags("O")), Scheme.CONLL));
  }

  @Test
  void aCorpusHasABleuOf100WithItselfWhateverTheOrder() {
    List<String> texts = new ArrayList<>();
    Random random = new Random(5);
    for (int i = 0; i < 30; i++) {
      StringBuilder text = new StringBuilder();
      for (int word = 0; word < 6; word++) {
        text.append((char) ('a' + random.nextInt(26))).append(' ');
      }
      texts.add(text.toString());
    }
    List<List<String>> own = texts.stream().map(List::of).toList();
    assertEquals(100, Bleu.corpus(texts, own).bleu(), 1e-9);
    List<String> other = new ArrayList<>(texts);
    Collections.rotate(other, 1);
    double bleu = Bleu.corpus(other, own).bleu();
    List<List<String>> reversed = new ArrayList<>(own);
    Collections.reverse(reversed);
    Collections.reverse(other);
    assertEquals(bleu, Bleu.corpus(other, reversed).bleu(), 1e-9);
    assertTrue(bleu < 50);
    assertEquals(0, Bleu.corpus(List.of(""), List.of(List.of("a"))).bleu());
    assertThrows(IllegalArgumentException.class, () -> Bleu.corpus(texts, own.subList(0, 3)));
    assertThrows(IllegalArgumentException.class, () -> Bleu.corpus(List.of(), List.of()));
  }

  @Test
  void squadsF1IsSymmetricAndAMissingAnswerScoresNothing() {
    assertEquals(Squad.f1("b a c c", "c d c"), Squad.f1("c d c", "b a c c"));
    Squad.Report report =
        Squad.score(
            List.of(
                new Squad.Question("1", List.of("the cat", "a dog")),
                new Squad.Question("2", List.of()),
                new Squad.Question("3", List.of("cat"))),
            Map.of("1", "Dog!", "2", ""));
    assertEquals(new Squad.Scores(2 / 3.0, 2 / 3.0, 3), report.all());
    assertEquals(new Squad.Scores(0.5, 0.5, 2), report.answerable());
    assertEquals(new Squad.Scores(1, 1, 1), report.unanswerable());
    assertEquals(1, report.missing());
  }

  @Test
  void matthewsIsSymmetricAndZeroForConstants() {
    List<String> gold = tags("a b a b b c");
    List<String> predicted = tags("a b b b a c");
    assertEquals(
        Confusion.of(gold, predicted).matthews(), Confusion.of(predicted, gold).matthews());
    assertEquals(1, Confusion.of(gold, gold).matthews(), 1e-12);
    assertEquals(0, Confusion.of(gold, tags("a a a a a a")).matthews());
  }

  @Test
  void spearmanSeesOrderAlone() {
    double[] x = new Random(2).doubles(20, -2, 2).toArray();
    double[] cubes = new double[20];
    for (int i = 0; i < 20; i++) {
      cubes[i] = Math.pow(x[i], 3);
    }
    assertEquals(1, Correlation.spearman(x, cubes), 1e-12);
    assertTrue(Correlation.pearson(x, cubes) < 0.999);
    assertTrue(Double.isNaN(Correlation.pearson(new double[] {1, 1}, new double[] {1, 2})));
  }

  @Test
  void theFirstRelevantDocumentCountsWhereItIsAmongTheFirst() {
    List<Integer> ranked = List.of(0, 0, 2, 1);
    assertEquals(1 / 3.0, Ranking.reciprocalRank(ranked, 3));
    assertEquals(0, Ranking.reciprocalRank(ranked, 2));
    assertEquals(0, Ranking.ndcg(ranked, ranked, 2, Ranking.Gain.EXPONENTIAL));
    // (3 / log2(4) + 1 / log2(5)) / (3 / log2(2) + 1 / log2(3))
    assertEquals(
        (1.5 + Math.log(2) / Math.log(5)) / (3 + Math.log(2) / Math.log(3)),
        Ranking.ndcg(ranked, ranked, 4, Ranking.Gain.EXPONENTIAL),
        1e-12);
    assertThrows(IllegalArgumentException.class, () -> Ranking.reciprocalRank(ranked, 0));
  }

  @Test
  void equalScoresAreRankedByIdAndQueriesWithoutRankingCount() {
    Ranking.Report report =
        Ranking.score(
            Map.of("q", Map.of("b", 1, "unranked", 3), "never ranked", Map.of("a", 1)),
            Map.of("q", Map.of("a", 1.0, "b", 1.0), "not judged", Map.of("a", 1.0)),
            10,
            Ranking.Gain.LINEAR);
    assertEquals(0.5, report.mrr());
    assertEquals(1 / (3 + Math.log(2) / Math.log(3)) / 2, report.ndcg(), 1e-12);
    assertEquals(2, report.queries());
    assertEquals(1, report.missing());
  }

  @Test
  void theRulesOfMultipleChoiceDivideByDifferentLengths() {
    List<Ending> endings =
        List.of(new Ending(-4, 1, 4), new Ending(-6, 3, 3), new Ending(-9, 3, 18));
    assertEquals(0, MultipleChoice.best(endings, Rule.SUM));
    assertEquals(1, MultipleChoice.best(endings, Rule.PER_TOKEN));
    assertEquals(2, MultipleChoice.best(endings, Rule.PER_CHARACTER));
    assertEquals(
        new MultipleChoice.Report(0.5, 0.5, 0, 2),
        MultipleChoice.score(List.of(new Question(endings, 0), new Question(endings, 1))));
    Ending same = new Ending(-1, 1, 1);
    assertEquals(0, MultipleChoice.best(List.of(same, same), Rule.SUM));
    assertThrows(IllegalArgumentException.class, () -> new Question(endings, 3));
  }

  @Test
  void exactMatchIsToTheLetter() {
    assertEquals(
        0.5, ExactMatch.score(List.of("a", "B"), List.of(List.of("b", "a"), List.of("b"))));
  }

  @Test
  void perplexityIsOfTheUnitThatIsAskedFor() {
    Perplexity.Result result = new Perplexity.Result(12, 6);
    assertEquals(Math.exp(2), result.perplexity());
    assertEquals(Math.exp(4), result.perplexityPer(3));
  }
}
