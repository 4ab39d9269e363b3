package dev.sinter.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.text.CharTokenizer;
import dev.sinter.text.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

class ChoiceScorerTest {
  private static final Tokenizer TOKENIZER = CharTokenizer.train("abcdefgh ");
  private static final int CONTEXT = 40;
  private static final GptConfig TINY = GptConfig.of(TOKENIZER.size(), CONTEXT, 24, 2, 3);

  private static String text(Random random, int length) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < length; i++) {
      text.append((char) ('a' + random.nextInt(8)));
    }
    return text.toString();
  }

  @Test
  void endingsScoreTogetherAsTheyDoAlone() {
    Random random = new Random(4);
    List<ChoiceScorer.Item> items = new ArrayList<>();
    for (int i = 0; i < 30; i++) {
      List<String> endings = new ArrayList<>();
      for (int ending = 0; ending < 2 + i % 3; ending++) {
        endings.add(text(random, 1 + random.nextInt(25)));
      }
      items.add(new ChoiceScorer.Item(text(random, 1 + random.nextInt(30)), endings, 1));
    }
    try (Device device = Device.cpu();
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 3)) {
      List<MultipleChoice.Question> questions =
          ChoiceScorer.ask(model, TOKENIZER, items, (done, all) -> {});
      assertEquals(items.size(), questions.size());
      for (int i = 0; i < items.size(); i++) {
        for (int j = 0; j < items.get(i).endings().size(); j++) {
          String ending = items.get(i).endings().get(j);
          String all = items.get(i).context() + " " + ending;
          // Of what is too long the beginning goes; the last token is only predicted.
          String kept = all.substring(Math.max(0, all.length() - CONTEXT - 1));
          double expected = alone(model, kept, ending.length() + 1);
          MultipleChoice.Ending found = questions.get(i).endings().get(j);
          assertEquals(expected, found.logprob(), 1e-3);
          assertEquals(ending.length() + 1, found.tokens());
          assertEquals(ending.length(), found.characters());
        }
      }
    }
  }

  /** The log-probability of a text's last tokens; the very last may exceed the context. */
  private static double alone(LanguageModel model, String text, int last) {
    int[] ids = TOKENIZER.encode(text);
    double sum = 0;
    try (var decoder = model.decoder(1, CONTEXT)) {
      for (int i = 0; i + 1 < ids.length; i++) {
        var logits = decoder.logits(new int[] {ids[i]});
        if (i + 1 >= ids.length - last) {
          double total = 0;
          for (int token = 0; token < TOKENIZER.size(); token++) {
            total += Math.exp(logits.get(token));
          }
          sum += logits.get(ids[i + 1]) - Math.log(total);
        }
      }
    }
    return sum;
  }

  @Test
  void emptyContextsAndEndingsAndThoseTooLongAreErrors() {
    try (Device device = Device.cpu();
        LanguageModel model = LanguageModel.create(TINY, device, DType.F32, 3)) {
      for (ChoiceScorer.Item item :
          List.of(
              new ChoiceScorer.Item("", List.of("a"), 0),
              new ChoiceScorer.Item("a", List.of(""), 0),
              new ChoiceScorer.Item("a", List.of("a".repeat(CONTEXT)), 0))) {
        assertThrows(
            IllegalArgumentException.class,
            () -> ChoiceScorer.ask(model, TOKENIZER, List.of(item), (done, all) -> {}));
      }
    }
  }
}
