import dev.sinter.Seq2Seq;
import dev.sinter.evaluate.Bleu;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.TransformerConfig;
import dev.sinter.model.TransformerModel;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.TranslationTrainer;
import dev.sinter.train.TranslationTrainer.Pair;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.stream.Stream;

/**
 * A translator from English to German: an encoder-decoder learns a small language, in which
 * articles and adjectives follow gender and case, and translates sentences that it has not seen.
 *
 * <pre>java -cp 'java/sinter-cli/target/lib/*' examples/Translator.java</pre>
 */
public class Translator {
  private static final int PAIRS = 4000;
  private static final int HELD_OUT = 50;
  private static final int STEPS = 300;
  private static final int LENGTH = 48;
  private static final long SEED = 1;

  /** Share of sentences translated exactly right, and BLEU, of sentences that were held out. */
  public record Outcome(double exact, double bleu) {}

  /** A sentence in both languages. */
  record Sentence(String english, String german) {}

  record Noun(String english, String german, char gender) {}

  private static final List<Noun> NOUNS =
      List.of(
          new Noun("dog", "Hund", 'm'),
          new Noun("man", "Mann", 'm'),
          new Noun("tree", "Baum", 'm'),
          new Noun("cat", "Katze", 'f'),
          new Noun("woman", "Frau", 'f'),
          new Noun("flower", "Blume", 'f'),
          new Noun("child", "Kind", 'n'),
          new Noun("house", "Haus", 'n'),
          new Noun("book", "Buch", 'n'));
  private static final String[][] ADJECTIVES = {
    {"big", "groß"}, {"small", "klein"}, {"old", "alt"}, {"red", "rot"}, {"beautiful", "schön"}
  };
  private static final String[][] VERBS = {
    {"sees", "sieht"}, {"finds", "findet"}, {"paints", "malt"}, {"loves", "liebt"}
  };

  public static void main(String[] arguments) {
    run(System.out);
  }

  /** Makes sentences, trains, and translates those that were held out. */
  static Outcome run(PrintStream out) {
    List<Sentence> sentences = sentences(PAIRS + HELD_OUT);
    List<Sentence> train = sentences.subList(0, PAIRS);
    StringBuilder text = new StringBuilder();
    train.forEach(s -> text.append(s.english).append('\n').append(s.german).append('\n'));
    Tokenizer tokenizer = BpeTokenizer.train(text, 340);
    List<Pair> pairs = new ArrayList<>();
    for (Sentence s : train) {
      pairs.add(new Pair(ended(tokenizer, s.english), ended(tokenizer, s.german)));
    }
    int padding = tokenizer.size();
    TransformerConfig config =
        TransformerConfig.of(padding + 1, LENGTH, 96, 2, 4)
            .withTokens(padding, tokenizer.endOfText().orElseThrow(), padding);
    try (Device device = Device.auto();
        Seq2Seq translator =
            Seq2Seq.of(
                new TransformerModel(config, device, DType.F32).initialize(SEED), tokenizer)) {
      new TranslationTrainer(translator.model(), pairs, 24, SEED)
          .run(
              AdamW.of(Schedule.cosine(4e-3, 4e-4).warmup(40)).withBetas(0.9, 0.98),
              0.1f,
              STEPS,
              step -> {
                if (step.number() % (STEPS / 10) == 0) {
                  out.printf(Locale.ROOT, "step %d: loss %.3f%n", step.number(), step.loss());
                }
              });
      return translate(translator, sentences.subList(PAIRS, PAIRS + HELD_OUT), out);
    }
  }

  private static Outcome translate(Seq2Seq translator, List<Sentence> held, PrintStream out) {
    List<String> english = held.stream().map(Sentence::english).toList();
    List<String> german =
        translator.translate(english, Seq2Seq.paperBeams()).stream()
            .map(beams -> beams.get(0).text())
            .toList();
    int exact = 0;
    for (int i = 0; i < held.size(); i++) {
      boolean right = german.get(i).equals(held.get(i).german);
      exact += right ? 1 : 0;
      if (i < 5 || !right) {
        out.printf("%s%n  %s %s%n", english.get(i), right ? "=" : "≠", german.get(i));
      }
    }
    double bleu = Bleu.corpus(german, held.stream().map(s -> List.of(s.german)).toList()).bleu();
    out.printf(Locale.ROOT, "%d of %d exactly right, BLEU %.1f%n", exact, held.size(), bleu);
    return new Outcome((double) exact / held.size(), bleu);
  }

  /**
   * Different sentences, "The old dog sees a red house." and "Der alte Hund sieht ein rotes Haus."
   */
  private static List<Sentence> sentences(int count) {
    Random random = new Random(SEED);
    return Stream.generate(() -> sentence(random)).distinct().limit(count).toList();
  }

  private static Sentence sentence(Random random) {
    Noun subject = NOUNS.get(random.nextInt(NOUNS.size()));
    Noun object = NOUNS.get(random.nextInt(NOUNS.size()));
    String[] first = ADJECTIVES[random.nextInt(ADJECTIVES.length)];
    String[] second = ADJECTIVES[random.nextInt(ADJECTIVES.length)];
    String[] verb = VERBS[random.nextInt(VERBS.length)];
    String article = subject.gender == 'm' ? "Der" : subject.gender == 'f' ? "Die" : "Das";
    String phrase =
        object.gender == 'm'
            ? "einen %sen %s"
            : object.gender == 'f' ? "eine %se %s" : "ein %ses %s";
    return new Sentence(
        String.join(" ", "The", first[0], subject.english, verb[0])
            + (second[0].equals("old") ? " an " : " a ")
            + (second[0] + " " + object.english + "."),
        String.join(" ", article, first[1] + "e", subject.german, verb[1], "")
            + String.format(phrase, second[1], object.german + "."));
  }

  private static int[] ended(Tokenizer tokenizer, String text) {
    int[] ids = tokenizer.encode(text);
    int[] all = Arrays.copyOf(ids, ids.length + 1);
    all[ids.length] = tokenizer.endOfText().orElseThrow();
    return all;
  }
}
