package dev.sinter.cli;

import dev.sinter.align.Chat;
import dev.sinter.align.ChatTemplate;
import dev.sinter.model.GptConfig;
import java.io.IOException;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** How sft, reward and dpo write examples. */
final class ExampleOptions {
  @Option(
      names = "--template",
      paramLabel = "KIND",
      description =
          "How conversations are written: plain, chatml, or the markers of system, user and"
              + " assistant, separated by | (default: the model's chat.json, else plain).")
  private String template;

  @Option(
      names = "--length",
      paramLabel = "N",
      description = "Most tokens of an example; longer ones are left out (default: the context).")
  private Integer length;

  Chat chat(Path model) throws IOException {
    Chat chat = Chat.load(model, ChatTemplate.plain());
    return template == null ? chat : new Chat(chat.tokenizer(), parse(template));
  }

  private static ChatTemplate parse(String kind) {
    if (kind.equals("plain")) {
      return ChatTemplate.plain();
    }
    if (kind.equals("chatml")) {
      return ChatTemplate.chatMl();
    }
    String[] markers = kind.translateEscapes().split("\\|", -1);
    if (markers.length != 3) {
      throw new IllegalArgumentException(
          "--template " + kind + "; plain, chatml, or three markers separated by |");
    }
    return ChatTemplate.of(markers[0], markers[1], markers[2]);
  }

  int length(GptConfig config) {
    return length == null ? config.context() : length;
  }
}
