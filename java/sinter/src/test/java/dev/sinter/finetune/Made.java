package dev.sinter.finetune;

import dev.sinter.data.PretrainingExamples;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.BertConfig;
import dev.sinter.model.GptConfig;
import dev.sinter.model.Head;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.SpecialToken;
import dev.sinter.text.Tokenizer;
import dev.sinter.text.WordTokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.BertTrainer;
import dev.sinter.train.Schedule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Small models and texts for tests. */
final class Made {
  static final List<String> NAMES =
      List.of("anna", "boris", "clara", "david", "emma", "frank", "greta", "hugo", "ida", "jonas");
  static final List<String> FAMILIES = List.of("miller", "smith", "tailor", "weaver");
  static final List<String> PLACES =
      List.of("athens", "berlin", "cairo", "dublin", "essen", "florence", "geneva", "hamburg");

  private Made() {}

  static String any(List<String> of, Random random) {
    return of.get(random.nextInt(of.size()));
  }

  /** A BERT with random weights and a tokenizer of these texts. */
  static Path bert(Path folder, String text, int width, int context) throws IOException {
    Files.createDirectories(folder);
    Tokenizer words = WordTokenizer.trainWordPiece(text, 400, true);
    words.save(folder);
    BertConfig config = BertConfig.of(words.size(), context, width, 2, 4).withDropout(0);
    try (Device device = Device.cpu(2);
        TaskModel model =
            new TaskModel(config, Head.pretraining(), device, DType.F32).initialize(3)) {
      ModelFiles.save(model, List.of(), folder);
    }
    return folder;
  }

  /** The same, after it has told masked words of these sentences. */
  static Path pretrained(Path folder, List<String> sentences, int width, int context, long steps)
      throws IOException {
    bert(folder, String.join(" ", sentences), width, context);
    Tokenizer words = Tokenizer.load(folder);
    List<List<int[]>> documents = new ArrayList<>();
    for (int i = 0; i + 4 <= sentences.size(); i += 4) {
      documents.add(sentences.subList(i, i + 4).stream().map(words::encode).toList());
    }
    PretrainingExamples.Settings settings =
        new PretrainingExamples.Settings(
            context,
            context / 5,
            words.special(SpecialToken.CLASS).getAsInt(),
            words.special(SpecialToken.SEPARATOR).getAsInt(),
            words.special(SpecialToken.MASK).getAsInt(),
            words.size(),
            null);
    try (Device device = Device.cpu(2);
        TaskModel model = ModelFiles.loadTask(folder, Head.masked(), device, DType.F32)) {
      PretrainingExamples examples = new PretrainingExamples(documents, settings, 4);
      new BertTrainer(model, examples, 16, context, context / 5, 5)
          .run(
              AdamW.of(Schedule.cosine(2e-3, 2e-4).warmup(50)).withBetas(0.9, 0.98),
              steps,
              step -> {});
      ModelFiles.save(model, List.of(), folder);
    }
    return folder;
  }

  /** A GPT with random weights and a tokenizer of these texts. */
  static Path gpt(Path folder, String text, GptConfig.Family family, int width, int context)
      throws IOException {
    Files.createDirectories(folder);
    Tokenizer tokens = BpeTokenizer.train(text, 400);
    tokens.save(folder);
    GptConfig config =
        GptConfig.of(tokens.size(), context, width, 2, 4).withFamily(family, 0).withDropout(0);
    try (Device device = Device.cpu(2);
        LanguageModel model = LanguageModel.create(config, device, DType.F32, 3)) {
      ModelFiles.writeConfig(config, tokens.endOfText(), folder);
      ModelFiles.writeWeights(model, folder);
    }
    return folder;
  }
}
