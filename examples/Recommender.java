import dev.sinter.finetune.FineTuner;
import dev.sinter.finetune.Prediction;
import dev.sinter.finetune.Predictor;
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
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;

/**
 * A recommender: a cross-encoder reads what a user has read and a candidate together, and says how
 * well it fits. Tastes are nowhere written down: they show in what is read together.
 *
 * <pre>java -cp 'java/sinter-cli/target/lib/*' examples/Recommender.java</pre>
 */
public class Recommender {
  private static final long SEED = 1;
  private static final int USERS = 1000;
  private static final int HELD_OUT = 60;
  private static final int CANDIDATES = 5;
  private static final List<List<String>> GENRES =
      List.of(
          List.of("dragon", "wizard", "castle", "sword", "throne", "prophecy", "elf", "spell"),
          List.of("galaxy", "robot", "planet", "orbit", "alien", "station", "comet", "android"),
          List.of("murder", "detective", "alibi", "clue", "witness", "poison", "trial", "suspect"),
          List.of("recipe", "kitchen", "bread", "spice", "soup", "oven", "pasta", "cheese"),
          List.of("summit", "glacier", "trail", "desert", "island", "voyage", "river", "jungle"));

  /** The share of users whose best-ranked candidate is the right one; by chance a fifth. */
  public record Outcome(double hits) {}

  /** A user's history and candidates, of which the first is of the user's taste. */
  record User(String history, List<String> candidates) {}

  public static void main(String[] arguments) throws IOException {
    run(Files.createTempDirectory("recommender"), System.out);
  }

  /** Makes users, trains on most and ranks candidates for the others. */
  static Outcome run(Path folder, PrintStream out) throws IOException {
    Random random = new Random(SEED);
    List<User> users = IntStream.range(0, USERS + HELD_OUT).mapToObj(i -> user(random)).toList();
    List<User> held = users.subList(USERS, users.size());
    try (Device device = Device.auto()) {
      FineTuner.of(Task.rank(), untrained(users, folder.resolve("base"), device))
          .train(write(users.subList(0, USERS), folder.resolve("train.tsv")))
          .validation(write(held, folder.resolve("valid.tsv")))
          .device(device)
          .epochs(12)
          .batch(25)
          .learningRate(1e-3)
          .seed(SEED)
          .out(folder.resolve("model"))
          .onEvaluation(e -> out.printf("epoch %.0f: %s%n", e.epoch(), e.metrics()))
          .run();
      try (Predictor model = Predictor.load(folder.resolve("model"), device, DType.F32)) {
        return recommend(model, held, out);
      }
    }
  }

  private static Outcome recommend(Predictor model, List<User> users, PrintStream out)
      throws IOException {
    int hits = 0;
    for (int i = 0; i < users.size(); i++) {
      User user = users.get(i);
      StringBuilder pairs = new StringBuilder();
      user.candidates.forEach(c -> pairs.append(user.history).append('\t').append(c).append('\n'));
      List<Prediction> scores =
          model.predict(model.task().readLines(Path.of("candidates"), pairs.toString()));
      List<Integer> ranked =
          IntStream.range(0, CANDIDATES)
              .boxed()
              .sorted((a, b) -> Double.compare(score(scores, b), score(scores, a)))
              .toList();
      hits += ranked.get(0) == 0 ? 1 : 0;
      if (i < 3) {
        out.println("read: " + user.history);
        ranked.forEach(c -> out.printf("  %.3f %s%n", score(scores, c), user.candidates.get(c)));
      }
    }
    out.printf("the right one first for %d of %d users%n", hits, users.size());
    return new Outcome((double) hits / users.size());
  }

  private static double score(List<Prediction> scores, int candidate) {
    return scores.get(candidate).scores().get(0);
  }

  /** Of five titles that a user has read four are of a taste, and one of any. */
  private static User user(Random random) {
    int taste = random.nextInt(GENRES.size());
    List<String> history = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      history.add(title(random, i == 2 ? random.nextInt(GENRES.size()) : taste));
    }
    List<String> candidates = new ArrayList<>();
    for (int i = 0; i < CANDIDATES; i++) {
      candidates.add(title(random, (taste + i) % GENRES.size()));
    }
    return new User(String.join(", ", history), candidates);
  }

  private static String title(Random random, int genre) {
    List<String> words = GENRES.get(genre);
    String first = words.get(random.nextInt(words.size()));
    String second = words.get(random.nextInt(words.size()));
    return String.format(
        List.of("the %s and the %s", "a %s of the %s", "%s without %s", "my %s your %s")
            .get(random.nextInt(4)),
        first,
        second);
  }

  private static Path write(List<User> users, Path file) throws IOException {
    List<String> lines = new ArrayList<>(List.of("query\tdocument\tlabel"));
    for (User user : users) {
      for (int i = 0; i < CANDIDATES; i++) {
        lines.add(user.history + "\t" + user.candidates.get(i) + "\t" + (i == 0 ? 1 : 0));
      }
    }
    return Files.write(file, lines);
  }

  /** A small BERT with random weights; a pre-trained one would need fewer users. */
  private static Path untrained(List<User> users, Path folder, Device device) throws IOException {
    StringBuilder text = new StringBuilder();
    users.forEach(user -> text.append(user.history).append('\n'));
    WordTokenizer tokenizer = WordTokenizer.trainWordPiece(text, 400, true);
    BertConfig config = BertConfig.of(tokenizer.size(), 64, 64, 2, 4).withDropout(0);
    try (TaskModel model = new TaskModel(config, Head.masked(), device, DType.F32)) {
      ModelFiles.save(model.initialize(SEED), List.of(), folder);
    }
    tokenizer.save(folder);
    return folder;
  }
}
