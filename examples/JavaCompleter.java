import dev.sinter.Generator;
import dev.sinter.Gpt;
import dev.sinter.data.Tokens;
import dev.sinter.generate.Completion;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.GptConfig;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/**
 * A completer of Java code: a small GPT learns from sources, is packed to 8 bits, and an engine
 * completes many places at once. The sources are made up; it is asked for methods of fields that
 * are in none of them.
 *
 * <pre>java -cp 'java/sinter-cli/target/lib/*' examples/JavaCompleter.java</pre>
 */
public class JavaCompleter {
  private static final int STEPS = 500;
  private static final long SEED = 1;
  private static final List<String> FIRST =
      List.of("min", "max", "old", "new", "first", "last", "total", "base", "main", "next");
  private static final List<String> SECOND =
      List.of("Width", "Price", "Count", "Title", "Speed", "Label", "Index", "Color");
  private static final List<String> TYPES = List.of("int", "long", "double", "String");

  /** The last loss in nats a token, and the share of unseen methods completed right. */
  public record Outcome(double loss, double right) {}

  public static void main(String[] arguments) {
    run(System.out);
  }

  /** Trains on made-up classes and completes methods of fields that none of them has. */
  static Outcome run(PrintStream out) {
    Random random = new Random(SEED);
    List<String> fields = new ArrayList<>();
    FIRST.forEach(first -> SECOND.forEach(second -> fields.add(first + second)));
    Collections.shuffle(fields, random);
    List<String> unseen = fields.subList(0, 16);
    List<String> seen = fields.subList(16, fields.size());
    StringBuilder code = new StringBuilder();
    for (int i = 0; i < 2500; i++) {
      code.append(bean(seen.get(random.nextInt(seen.size())), TYPES.get(random.nextInt(4))));
    }
    Tokenizer tokenizer = BpeTokenizer.train(code, 340);
    GptConfig config = GptConfig.of(tokenizer.size(), 96, 128, 3, 4).withDropout(0);
    try (Device device = Device.auto();
        Gpt gpt = Gpt.create(config, tokenizer, device, DType.F32, SEED)) {
      double loss = train(gpt, code.toString(), out);
      List<String> prompts = new ArrayList<>();
      List<String> expected = new ArrayList<>();
      for (String field : unseen) {
        // All down to the body of the getter, and the body that should follow.
        String bean = bean(field, "int");
        int body = bean.indexOf("{", bean.indexOf("get")) + 1;
        prompts.add(bean.substring(0, body));
        expected.add(bean.substring(body, bean.indexOf("}", body)));
      }
      int right = 0;
      List<Completion> completions = complete(gpt, prompts);
      for (int i = 0; i < prompts.size(); i++) {
        String text = completions.get(i).text();
        boolean same = text.startsWith(expected.get(i));
        right += same ? 1 : 0;
        if (i < 3 || !same) {
          out.printf("%n%s|%s}%n", prompts.get(i), text.split("}", -1)[0]);
        }
      }
      out.printf("%n%d of %d methods of unseen fields are right%n", right, unseen.size());
      return new Outcome(loss, (double) right / unseen.size());
    }
  }

  private static double train(Gpt gpt, String code, PrintStream out) {
    double[] loss = {0};
    gpt.trainer()
        .data(Tokens.of(gpt.tokenizer().encode(code)), 12)
        .optimizer(AdamW.of(Schedule.cosine(3e-3, 3e-4).warmup(30)))
        .steps(STEPS)
        .seed(SEED)
        .onStep(
            step -> {
              loss[0] = step.loss();
              if (step.number() % (STEPS / 10) == 0) {
                out.printf(Locale.ROOT, "step %d: loss %.3f%n", step.number(), step.loss());
              }
            })
        .run();
    return loss[0];
  }

  private static List<Completion> complete(Gpt gpt, List<String> prompts) {
    try (Generator generator = gpt.generator(WeightFormat.Q8, EngineSettings.defaults())) {
      return generator.generate(prompts, Sampling.greedy().withMaxNewTokens(24));
    }
  }

  /** A class with a field, its getter and its setter. */
  private static String bean(String field, String type) {
    String upper = Character.toUpperCase(field.charAt(0)) + field.substring(1);
    return """
    class With%2$s {
      private %3$s %1$s;

      %3$s get%2$s() {
        return %1$s;
      }

      void set%2$s(%3$s value) {
        this.%1$s = value;
      }
    }

    """
        .formatted(field, upper, type);
  }
}
