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
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/**
 * An opinion monitor: a classifier tells the topic and the sentiment of each post of a stream, and
 * an alert is raised where the negative ones of a topic are far more than in the hours before.
 *
 * <pre>java -cp 'java/sinter-cli/target/lib/*' examples/OpinionMonitor.java</pre>
 */
public class OpinionMonitor {
  private static final long SEED = 1;
  private static final Map<String, List<String>> TOPICS =
      new TreeMap<>(
          Map.of(
              "delivery", List.of("parcel", "courier", "package", "driver", "shipment"),
              "price", List.of("price", "discount", "fee", "invoice", "cost"),
              "quality", List.of("zipper", "fabric", "screen", "battery", "handle"),
              "support", List.of("hotline", "agent", "chat", "reply", "helpdesk")));
  private static final List<String> GOOD =
      List.of("great", "excellent", "lovely", "wonderful", "perfect");
  private static final List<String> BAD =
      List.of("awful", "terrible", "poor", "disappointing", "dreadful");
  private static final List<String> FRAMES =
      List.of("the %s was %s", "my %s is %s today", "honestly the %s was %s", "%s %s again");

  /** The share of the stream's posts told right, and the alerts: an hour and a topic each. */
  public record Outcome(double accuracy, List<String> alerts) {}

  /** What is written, and its topic and sentiment. */
  record Post(String text, String label) {}

  public static void main(String[] arguments) throws IOException {
    run(Files.createTempDirectory("opinions"), System.out);
  }

  /** Makes posts, tunes a classifier, and watches a day on which a courier is on strike. */
  static Outcome run(Path folder, PrintStream out) throws IOException {
    Random random = new Random(SEED);
    List<Post> posts = new ArrayList<>();
    for (int i = 0; i < 3300; i++) {
      posts.add(post(random, any(random), random.nextBoolean()));
    }
    try (Device device = Device.auto()) {
      FineTuner.of(Task.classify(), untrained(posts, folder.resolve("base"), device))
          .train(write(posts.subList(0, 3000), folder.resolve("train.tsv")))
          .validation(write(posts.subList(3000, 3300), folder.resolve("valid.tsv")))
          .device(device)
          .epochs(10)
          .batch(32)
          .learningRate(2e-3)
          .seed(SEED)
          .out(folder.resolve("model"))
          .onEvaluation(e -> out.printf("epoch %.0f: %s%n", e.epoch(), e.metrics()))
          .run();
      try (Encoder model = Encoder.load(folder.resolve("model"), device, DType.F32)) {
        return watch(model, random, out);
      }
    }
  }

  private static Outcome watch(Encoder model, Random random, PrintStream out) {
    Map<String, List<Integer>> negatives = new TreeMap<>();
    List<String> alerts = new ArrayList<>();
    int right = 0;
    int all = 0;
    for (int hour = 0; hour < 24; hour++) {
      List<Post> posts = new ArrayList<>();
      for (int i = 0; i < (hour == 17 ? 60 : 40); i++) {
        String topic = i < 40 ? any(random) : "delivery";
        posts.add(post(random, topic, i >= 40 || random.nextInt(4) == 0));
      }
      Map<String, Integer> counts = new TreeMap<>();
      TOPICS.keySet().forEach(topic -> counts.put(topic, 0));
      List<List<Encoder.Label>> labels = model.classify(posts.stream().map(Post::text).toList());
      for (int i = 0; i < posts.size(); i++) {
        String label = labels.get(i).get(0).name();
        right += label.equals(posts.get(i).label) ? 1 : 0;
        if (label.endsWith("/negative")) {
          counts.merge(label.substring(0, label.indexOf('/')), 1, Integer::sum);
        }
      }
      all += posts.size();
      out.printf("%02d:00 negative: %s%n", hour, counts);
      for (Map.Entry<String, Integer> one : counts.entrySet()) {
        List<Integer> before = negatives.computeIfAbsent(one.getKey(), key -> new ArrayList<>());
        double mean = before.stream().mapToInt(Integer::intValue).average().orElse(0);
        // Counts scatter by the root of their mean: six times that is no chance.
        if (before.size() >= 6 && one.getValue() > mean + 6 * Math.sqrt(Math.max(1, mean))) {
          alerts.add(String.format("%02d:00 %s", hour, one.getKey()));
          out.printf("ALERT: %s, where %.1f an hour were usual%n", one, mean);
        }
        before.add(one.getValue());
      }
    }
    out.printf("%.1f%% of %d posts told right%n", 100.0 * right / all, all);
    return new Outcome((double) right / all, alerts);
  }

  private static String any(Random random) {
    return List.copyOf(TOPICS.keySet()).get(random.nextInt(TOPICS.size()));
  }

  /** A good word makes a post positive, "not" before it negative, and the other way round. */
  private static Post post(Random random, String topic, boolean negative) {
    boolean not = random.nextInt(3) == 0;
    String word = (negative == not ? GOOD : BAD).get(random.nextInt(5));
    String noun = TOPICS.get(topic).get(random.nextInt(5));
    String frame = FRAMES.get(random.nextInt(FRAMES.size()));
    return new Post(
        String.format(frame, noun, not ? "not " + word : word),
        topic + (negative ? "/negative" : "/positive"));
  }

  private static Path write(List<Post> posts, Path file) throws IOException {
    List<String> lines = new ArrayList<>(List.of("text\tlabel"));
    posts.forEach(post -> lines.add(post.text + "\t" + post.label));
    return Files.write(file, lines);
  }

  /** A small BERT with random weights; a pre-trained one would need fewer posts. */
  private static Path untrained(List<Post> posts, Path folder, Device device) throws IOException {
    StringBuilder text = new StringBuilder();
    posts.forEach(post -> text.append(post.text).append('\n'));
    WordTokenizer tokenizer = WordTokenizer.trainWordPiece(text, 400, true);
    BertConfig config = BertConfig.of(tokenizer.size(), 32, 64, 2, 2).withDropout(0);
    try (TaskModel model = new TaskModel(config, Head.masked(), device, DType.F32)) {
      ModelFiles.save(model.initialize(SEED), List.of(), folder);
    }
    tokenizer.save(folder);
    return folder;
  }
}
