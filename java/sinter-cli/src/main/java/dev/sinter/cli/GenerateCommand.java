package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.align.Chat;
import dev.sinter.align.ChatTemplate;
import dev.sinter.align.Conversation;
import dev.sinter.generate.BeamSearch;
import dev.sinter.generate.Beams;
import dev.sinter.generate.Completion;
import dev.sinter.generate.Ending;
import dev.sinter.generate.Engine;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.EngineStream;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Speculation;
import dev.sinter.generate.Token;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import dev.sinter.io.FormatException;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.stream.Collectors;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Completes texts. */
@Command(
    name = "generate",
    description = "Completes a text with a model; the text streams as it comes.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "--json prints one object when all is done:",
      "  {\"completions\": [{\"prompt\": 0, \"text\": \"…\", \"ids\": […], \"logprobs\": […],",
      "    \"score\": …, \"finish\": \"length\"}, …]}",
      "prompt: its number; adapter: its name, if one completed it; text: not with",
      "--ids; logprobs: of each token under the",
      "model's own distribution; score: their sum, with --beams that of the beam;",
      "finish: length, context, end_of_text or stop.",
      "",
      "Examples:",
      "  ./sinter generate --model model --prompt 'To be' --temperature 0.8 --top-p 0.9",
      "  echo 'public static' | ./sinter generate --model model --prompt - --count 3 --stop '}'",
      "  ./sinter generate --model model --prompt 'To be' --beams 4 --no-repeat-ngram 3",
      "  ./sinter generate --model gpt2.gguf --prompt 'To be' --weights q8",
      "  ./sinter generate --model model --adapter a=polite --adapter b=brief \\",
      "      --prompt Hello --use a --prompt Hello --use b",
      "  ./sinter generate --model model --ids 15496,11 --ids 995 --eos 50256 --json"
    })
final class GenerateCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model, plain or packed, or a .gguf file.")
  private Path model;

  @ArgGroup(multiplicity = "1")
  private Prompts prompts;

  private static final class Prompts {
    @Option(
        names = "--prompt",
        paramLabel = "TEXT",
        required = true,
        description = "What to complete; -: read it from standard input. Several decode together.")
    private List<String> texts;

    @Option(
        names = "--ids",
        paramLabel = "ID,ID…",
        required = true,
        description = "Token ids instead of a text, in and out; needs no tokenizer.")
    private List<String> ids;
  }

  @Option(
      names = "--count",
      paramLabel = "N",
      defaultValue = "1",
      description = "Completions, each of the next seed (default: ${DEFAULT-VALUE}).")
  private int count;

  @Option(
      names = "--chat",
      description =
          "Answer each prompt as what a user says, in the template of the model's chat.json; prints"
              + " the answer alone.")
  private boolean chat;

  @Option(names = "--json", description = "Print one JSON object.")
  private boolean json;

  @Mixin private SamplingOptions sampling;

  @Mixin private ProcessorOptions processors;

  @Mixin private BeamOptions beams;

  @Option(
      names = {"--weights", "--dtype"},
      paramLabel = "FORMAT",
      description =
          "How weights are held: f32, bf16, q8 or q4, with beams f32 or bf16 (default: as they are"
              + " packed, else f32).")
  private String weights;

  @Option(
      names = "--lookup",
      paramLabel = "N",
      defaultValue = "7",
      description =
          "Most tokens to guess at once where the text repeats itself; no token changes; 0: none"
              + " (default: ${DEFAULT-VALUE}).")
  private int lookup;

  @Option(
      names = "--draft",
      paramLabel = "DIR",
      description = "A small model of the same vocabulary that guesses instead; no token changes.")
  private Path draft;

  @Mixin private AdapterOptions adapters;

  @Mixin private DeviceOptions device;

  /** A completion, the number of its prompt, and the adapter. */
  private record Numbered(int prompt, Optional<String> adapter, Completion completion) {}

  @Override
  public Integer call() throws IOException {
    if (count < 1) {
      throw new IllegalArgumentException("--count " + count + "; 1 or more");
    }
    Sampling first = sampling.get().with(processors.get());
    Optional<Beams> search = beams.get(count);
    List<String> texts = new ArrayList<>();
    for (String text : prompts.texts == null ? List.<String>of() : prompts.texts) {
      texts.add(text.equals("-") ? standardInput() : text);
    }
    List<Optional<String>> choices =
        adapters.choices(texts.isEmpty() ? prompts.ids.size() : texts.size());
    if (chat && (search.isPresent() || texts.isEmpty())) {
      throw new IllegalArgumentException("--chat answers texts, without beams");
    }
    if (search.isPresent()) {
      if (adapters.given()) {
        throw new IllegalArgumentException("--beams search without adapters; merge one first");
      }
      show(search(texts, first, search.get()), texts);
      return 0;
    }
    WeightFormat format = weights == null ? null : WeightFormat.of(weights);
    FutureTask<Tokenizer> reading = texts.isEmpty() ? null : beside(() -> Tokenizer.load(model));
    try (Device where = device.open();
        FrozenModel frozen = FrozenModel.load(model, where, format);
        FrozenModel small = draft == null ? null : FrozenModel.load(draft, where, null)) {
      Tokenizer tokenizer = reading == null ? null : tokenizer(reading, frozen.config());
      Chat talk = chat ? chat(tokenizer) : null;
      if (chat && first.ending().tokens().isEmpty()) {
        first = first.withEndTokens(Set.of(talk.endToken()));
      }
      List<int[]> ids = ids(texts, tokenizer, talk);
      try (Engine engine = Engine.of(frozen, tokenizer, settings(frozen, small, ids, first))) {
        adapters.load(engine, frozen);
        if (texts.size() == 1 && !json) {
          stream(engine, texts.get(0), ids.get(0), first, choices.get(0));
        } else {
          show(complete(engine, ids, first, choices), texts);
        }
      }
    }
    return 0;
  }

  private Chat chat(Tokenizer tokenizer) throws IOException {
    return new Chat(tokenizer, ChatTemplate.load(model).orElse(ChatTemplate.plain()));
  }

  private List<int[]> ids(List<String> texts, Tokenizer tokenizer, Chat talk) {
    if (talk != null) {
      return texts.stream().map(text -> talk.prompt(Conversation.asking(text))).toList();
    }
    return texts.isEmpty()
        ? prompts.ids.stream().map(GenerateCommand::parse).toList()
        : texts.stream().map(tokenizer::encode).toList();
  }

  /** Does something on a thread that keeps nothing alive. */
  private static <T> FutureTask<T> beside(Callable<T> work) {
    FutureTask<T> task = new FutureTask<>(work);
    Thread thread = new Thread(task, "loading");
    thread.setDaemon(true);
    thread.start();
    return task;
  }

  /** The tokenizer, which was read while the weights were. */
  private Tokenizer tokenizer(FutureTask<Tokenizer> reading, GptConfig config) throws IOException {
    Tokenizer tokenizer;
    try {
      tokenizer = reading.get();
    } catch (ExecutionException e) {
      if (e.getCause() instanceof IOException cause) {
        throw cause;
      }
      throw e.getCause() instanceof RuntimeException cause ? cause : new IllegalStateException(e);
    } catch (InterruptedException e) {
      throw new InterruptedIOException(model + ": interrupted while the tokenizer was read");
    }
    if (tokenizer.size() > config.vocabulary()) {
      throw new FormatException(
          model,
          "the tokenizer has "
              + tokenizer.size()
              + " tokens, the model a vocabulary of "
              + config.vocabulary()
              + "; they are of different models");
    }
    return tokenizer;
  }

  /** An engine that has room for what is asked, and for no more. */
  private EngineSettings settings(
      FrozenModel frozen, FrozenModel small, List<int[]> ids, Sampling first) {
    int prompt = ids.stream().mapToInt(each -> each.length).max().orElseThrow();
    Ending ending = first.ending();
    long asked = ending.maxNewTokens() > 0 ? prompt + (long) ending.maxNewTokens() : prompt;
    long positions = Math.min(frozen.config().context(), Math.max(asked, ending.maxLength()));
    EngineSettings settings = EngineSettings.defaults();
    int slots = Math.min(settings.slots(), ids.size() * count);
    int pages = (int) (positions / settings.pageSize()) + 1;
    return settings.withSlots(slots).withPages(slots * pages).withSpeculation(speculation(small));
  }

  private Speculation speculation(FrozenModel small) {
    if (small != null) {
      return Speculation.draft(small, 4);
    }
    return lookup == 0 ? Speculation.none() : Speculation.promptLookup(3, lookup);
  }

  private static String standardInput() throws IOException {
    return new String(System.in.readAllBytes(), StandardCharsets.UTF_8).stripTrailing();
  }

  private static int[] parse(String ids) {
    return ProcessorOptions.ids(ids).stream().mapToInt(Integer::intValue).toArray();
  }

  private static Request request(int[] ids, Sampling first, int number, Optional<String> adapter) {
    Request request = Request.of(ids, first.withSeed(first.seed() + number));
    return adapter.map(request::withAdapter).orElse(request);
  }

  private void stream(
      Engine engine, String text, int[] ids, Sampling first, Optional<String> adapter) {
    PrintWriter out = spec.commandLine().getOut();
    for (int i = 0; i < count; i++) {
      if (count > 1) {
        spec.commandLine().getErr().println("--- " + (i + 1) + " of " + count);
      }
      out.print(chat ? "" : text);
      out.flush();
      try (EngineStream stream = engine.stream(request(ids, first, i, adapter))) {
        for (Token token : stream) {
          out.print(token.text());
          out.flush();
        }
        out.println();
        printEnd(stream.completion().join());
      }
    }
  }

  /** Where there are several prompts, each completion of a prompt has the seed after the last. */
  private List<Numbered> complete(
      Engine engine, List<int[]> ids, Sampling first, List<Optional<String>> choices) {
    List<Request> requests = new ArrayList<>();
    for (int prompt = 0; prompt < ids.size(); prompt++) {
      for (int i = 0; i < count; i++) {
        requests.add(request(ids.get(prompt), first, requests.size(), choices.get(prompt)));
      }
    }
    List<Numbered> all = new ArrayList<>();
    for (Completion completion : engine.complete(requests)) {
      int prompt = all.size() / count;
      all.add(new Numbered(prompt, choices.get(prompt), completion));
    }
    return all;
  }

  private List<Numbered> search(List<String> texts, Sampling first, Beams how) throws IOException {
    DType dtype = weights == null ? DType.F32 : DType.of(weights);
    Tokenizer tokenizer = texts.isEmpty() ? null : Tokenizer.load(model);
    List<int[]> ids = ids(texts, tokenizer, null);
    List<Numbered> all = new ArrayList<>();
    try (Device where = device.open();
        LanguageModel plain = ModelFiles.load(model, where, dtype)) {
      for (int i = 0; i < ids.size(); i++) {
        for (Completion one : BeamSearch.complete(plain, tokenizer, ids.get(i), first, how)) {
          all.add(new Numbered(i, Optional.empty(), one));
        }
      }
    }
    return all;
  }

  /**
   * @param texts of the prompts; none: ids alone
   */
  private void show(List<Numbered> all, List<String> texts) throws IOException {
    if (json) {
      printJson(all, !texts.isEmpty());
      return;
    }
    PrintWriter out = spec.commandLine().getOut();
    for (int i = 0; i < all.size(); i++) {
      if (all.size() > 1) {
        spec.commandLine().getErr().println("--- " + (i + 1) + " of " + all.size());
      }
      Completion one = all.get(i).completion;
      out.println(
          texts.isEmpty()
              ? one.tokens().stream()
                  .map(token -> Integer.toString(token.id()))
                  .collect(Collectors.joining(","))
              : (chat ? "" : texts.get(all.get(i).prompt)) + one.text());
      out.flush();
      printEnd(one);
    }
  }

  private void printEnd(Completion completion) {
    String guesses =
        completion.proposed() == 0
            ? ""
            : ", " + completion.accepted() + " of " + completion.proposed() + " guesses right";
    spec.commandLine()
        .getErr()
        .printf(
            Locale.ROOT,
            "[%d + %d tokens, first after %.0f ms, then %.1f tok/s%s, ended by %s]%n",
            completion.promptTokens(),
            completion.tokens().size(),
            completion.timeToFirstToken().toNanos() / 1e6,
            completion.tokensPerSecond(),
            guesses,
            finish(completion).replace('_', ' '));
  }

  private static String finish(Completion completion) {
    return completion.finishReason().toString().toLowerCase(Locale.ROOT);
  }

  private void printJson(List<Numbered> all, boolean hasText) throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    ObjectNode root = mapper.createObjectNode();
    ArrayNode completions = root.putArray("completions");
    for (Numbered one : all) {
      ObjectNode node = completions.addObject().put("prompt", one.prompt);
      one.adapter.ifPresent(name -> node.put("adapter", name));
      if (hasText) {
        node.put("text", one.completion.text());
      }
      ArrayNode ids = node.putArray("ids");
      ArrayNode logprobs = node.putArray("logprobs");
      for (Token token : one.completion.tokens()) {
        ids.add(token.id());
        logprobs.add(token.logprob());
      }
      node.put("score", one.completion.score()).put("finish", finish(one.completion));
    }
    spec.commandLine().getOut().println(mapper.writeValueAsString(root));
  }
}
