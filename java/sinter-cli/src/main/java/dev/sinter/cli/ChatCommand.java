package dev.sinter.cli;

import dev.sinter.Generator;
import dev.sinter.align.Chat;
import dev.sinter.align.ChatTemplate;
import dev.sinter.align.Conversation;
import dev.sinter.align.Message;
import dev.sinter.align.Message.Role;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.EngineStream;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.generate.Token;
import dev.sinter.graph.Device;
import dev.sinter.graph.WeightFormat;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Talks with a model. */
@Command(
    name = "chat",
    description = "Talks with a tuned model: a message a line, the answer streams as it comes.",
    mixinStandardHelpOptions = true,
    sortOptions = false,
    footer = {
      "",
      "The model's chat.json says how conversations are written, else they are plain. Where the",
      "context is full, the oldest messages are forgotten.",
      "",
      "Examples:",
      "  ./sinter chat --model aligned",
      "  ./sinter chat --model aligned --message 'How are you?' --temperature 0.7",
      "  ./sinter chat --model aligned --system 'Answer in one sentence.' < questions.txt",
      "  ./sinter chat --model gpt2 --adapter tuned --weights q4"
    })
final class ChatCommand implements Callable<Integer> {
  private static final String ADAPTER = "adapter";

  /** The share of the context that an answer can count on. */
  private static final int SHARE = 4;

  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      paramLabel = "DIR",
      required = true,
      description = "Folder of the model, plain or packed.")
  private Path model;

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description = "Folder of a low-rank adapter that the model answers with.")
  private Path adapter;

  @Option(
      names = "--message",
      paramLabel = "TEXT",
      description = "Say this and end; several are said one after the other.")
  private List<String> messages = new ArrayList<>();

  @Option(
      names = "--system",
      paramLabel = "TEXT",
      description = "How the model shall answer: it stays at the head of the conversation.")
  private String system;

  @Mixin private SamplingOptions sampling;

  @Option(
      names = "--weights",
      paramLabel = "FORMAT",
      description = "How weights are held: f32, bf16, q8 or q4 (default: as they are).")
  private String weights;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() throws IOException {
    Chat chat = Chat.load(adapter == null ? model : adapter, ChatTemplate.plain());
    Sampling asked = sampling.get();
    if (asked.ending().tokens().isEmpty()) {
      asked = asked.withEndTokens(Set.of(chat.endToken()));
    }
    WeightFormat format = weights == null ? null : WeightFormat.of(weights);
    EngineSettings settings = EngineSettings.defaults().withSlots(1);
    try (Device where = device.open();
        Generator generator = Generator.load(model, where, format, settings)) {
      if (adapter != null) {
        generator.loadAdapter(ADAPTER, adapter);
      }
      Talk talk = new Talk(chat, generator, asked);
      if (messages.isEmpty()) {
        talk.withStandardInput();
      } else {
        messages.forEach(talk::say);
      }
    }
    return 0;
  }

  /** A conversation that goes on. */
  private final class Talk {
    private final PrintWriter out = spec.commandLine().getOut();
    private final PrintWriter err = spec.commandLine().getErr();
    private final Chat chat;
    private final Generator generator;
    private final int context;
    private final List<Message> said = new ArrayList<>();
    private Sampling sampling;

    Talk(Chat chat, Generator generator, Sampling sampling) {
      this.chat = chat;
      this.generator = generator;
      this.context = generator.model().config().context();
      this.sampling = sampling;
      if (system != null) {
        said.add(new Message(Role.SYSTEM, system));
      }
    }

    void withStandardInput() throws IOException {
      BufferedReader in =
          new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      boolean watched = Terminal.isInteractive();
      if (watched) {
        err.println("Ctrl-D ends the conversation.");
      }
      while (true) {
        if (watched) {
          err.print("> ");
          err.flush();
        }
        String line = in.readLine();
        if (line == null) {
          return;
        }
        if (!line.isBlank()) {
          say(line);
        }
      }
    }

    void say(String message) {
      said.add(new Message(Role.USER, message));
      int[] prompt = prompt();
      StringBuilder answer = new StringBuilder();
      Request plain = Request.of(prompt, sampling);
      Request request = adapter == null ? plain : plain.withAdapter(ADAPTER);
      try (EngineStream stream = generator.engine().stream(request)) {
        for (Token token : stream) {
          out.print(token.text());
          out.flush();
          answer.append(token.text());
        }
      }
      out.println();
      said.add(new Message(Role.ASSISTANT, answer.toString()));
      sampling = sampling.withSeed(sampling.seed() + 1);
    }

    /** The conversation, of which the oldest messages are forgotten until an answer has room. */
    private int[] prompt() {
      int first = system == null ? 0 : 1;
      while (true) {
        int[] prompt = chat.prompt(new Conversation(said));
        int room = context - prompt.length;
        if (room >= Math.max(1, context / SHARE)) {
          return prompt;
        }
        if (said.size() - first < 2) {
          if (room >= 1) {
            return prompt;
          }
          throw new IllegalArgumentException(
              "the message has "
                  + prompt.length
                  + " tokens with what is around it; the model's context is "
                  + context);
        }
        said.remove(first);
        if (said.get(first).role() == Role.ASSISTANT) {
          said.remove(first);
        }
      }
    }
  }
}
