import dev.sinter.Encoder;
import dev.sinter.finetune.FineTuner;
import dev.sinter.finetune.Task;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.BertConfig;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.text.WordTokenizer;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;

/**
 * A customer-service assistant: a bi-encoder finds the article that answers a question, and the
 * answer names it as its source. Where the nearest article is none, it says that it does not know.
 *
 * <pre>java -cp 'java/sinter-cli/target/lib/*' examples/CustomerService.java</pre>
 */
public class CustomerService {
  /** Where it is from, what it says, what customers call its matter. */
  private static final String ARTICLES =
      """
      returns.md|Goods may be sent back within 30 days, at our cost.|send back a jacket|return shoes
      delivery.md|A parcel takes two days, and five in the mountains.|get my parcel|track a parcel
      payment.md|We take cards and transfers; an invoice comes by mail.|pay by card|get an invoice
      account.md|A new password is set on the login page.|reset my password|change the login
      warranty.md|What breaks within two years is repaired.|repair a broken zip|mend a seam
      """;

  private static final long SEED = 1;
  private static final String FRAMES =
      "how do i %s|can i %s|i want to %s|where can i %s|help me to %s|what must i do to %s"
          + "|is it possible to %s|tell me how to %s|i would like to %s|may i %s";
  private static final String VERBS = "bake|win|learn|grow|tune|sing|hunt|fly|paint|climb";
  private static final String NOUNS = "bread|chess|roses|pianos|songs|fish|deer|kites|walls|trees";

  /** Questions on other things are near to this, which is no article. */
  private static final String UNKNOWN = "This is about something else.";

  /** Shares of questions with the right article, and of strange ones with none. */
  public record Outcome(double answered, double refused) {}

  public static void main(String[] arguments) throws IOException {
    run(Files.createTempDirectory("service"), System.out);
  }

  /** Asks in many ways, trains on most of them, and answers the others. */
  static Outcome run(Path folder, PrintStream out) throws IOException {
    Random random = new Random(SEED);
    List<String> lines = new ArrayList<>();
    for (String article : ARTICLES.lines().toList()) {
      String[] parts = article.split("\\|");
      for (String frame : FRAMES.split("\\|")) {
        lines.add(frame.formatted(parts[2]) + "\t" + parts[1]);
        lines.add(frame.formatted(parts[3]) + "\t" + parts[1]);
      }
    }
    Collections.shuffle(lines, random);
    List<String> held = new ArrayList<>(lines.subList(0, 30));
    lines.removeAll(held);
    String words = String.join("\n", lines);
    for (int i = 0; i < 80; i++) {
      lines.add(other(random.nextInt(7), random.nextInt(7), random.nextInt(10)) + "\t" + UNKNOWN);
    }
    lines.add(0, "query\tpositive");
    try (Device device = Device.auto()) {
      FineTuner.of(Task.retrieve(), untrained(words, folder.resolve("base"), device))
          .train(Files.write(folder.resolve("train.tsv"), lines))
          .device(device)
          .epochs(30)
          .batch(16)
          .learningRate(1e-3)
          .seed(SEED)
          .out(folder.resolve("model"))
          .run();
      try (Encoder model = Encoder.load(folder.resolve("model"), device, DType.F32)) {
        return ask(model, held, out);
      }
    }
  }

  /** A question that no article answers. */
  private static String other(int verb, int noun, int frame) {
    String matter = VERBS.split("\\|")[verb] + " " + NOUNS.split("\\|")[noun];
    return FRAMES.split("\\|")[frame].formatted(matter);
  }

  private static Outcome ask(Encoder model, List<String> held, PrintStream out) {
    List<String> texts = new ArrayList<>();
    ARTICLES.lines().forEach(article -> texts.add(article.split("\\|")[1]));
    texts.add(UNKNOWN);
    float[][] vectors = model.embed(texts, Encoder.Pooling.MEAN, true);
    int right = 0;
    for (int i = 0; i < held.size(); i++) {
      String[] line = held.get(i).split("\t");
      int found = nearest(model, line[0], vectors);
      right += texts.get(found).equals(line[1]) ? 1 : 0;
      if (i < 5) {
        answer(line[0], found, out);
      }
    }
    int refused = 0;
    for (int i = 0; i < 9; i++) {
      String question = other(7 + i / 3, 7 + i % 3, i); // of words that were never seen
      int found = nearest(model, question, vectors);
      refused += found == texts.size() - 1 ? 1 : 0;
      answer(question, found, out);
    }
    out.printf("%d of %d right, %d of 9 refused%n", right, held.size(), refused);
    return new Outcome((double) right / held.size(), refused / 9.0);
  }

  private static void answer(String question, int found, PrintStream out) {
    String unknown = "|I do not know; a colleague will answer you.";
    String[] parts = ARTICLES.lines().skip(found).findFirst().orElse(unknown).split("\\|");
    out.printf(
        "> %s?%n  %s%s%n", question, parts[1], parts[0].isEmpty() ? "" : " [" + parts[0] + "]");
  }

  private static int nearest(Encoder model, String question, float[][] vectors) {
    float[] query = model.embed(List.of(question), Encoder.Pooling.MEAN, true)[0];
    double[] cosines = new double[vectors.length];
    int best = 0;
    for (int i = 0; i < vectors.length; i++) {
      for (int j = 0; j < query.length; j++) {
        cosines[i] += query[j] * vectors[i][j];
      }
      best = cosines[i] > cosines[best] ? i : best;
    }
    return best;
  }

  private static Path untrained(String words, Path folder, Device device) throws IOException {
    WordTokenizer tokenizer = WordTokenizer.trainWordPiece(words, 400, true);
    BertConfig config = BertConfig.of(tokenizer.size(), 32, 64, 2, 2);
    try (TaskModel model = new TaskModel(config, Head.masked(), device, DType.F32)) {
      ModelFiles.save(model.initialize(SEED), List.of(), folder);
    }
    tokenizer.save(folder);
    return folder;
  }
}
