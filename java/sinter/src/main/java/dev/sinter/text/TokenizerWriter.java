package dev.sinter.text;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.io.AtomicFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** Writes {@code tokenizer.json} and {@code tokenizer_config.json}. */
final class TokenizerWriter {
  private TokenizerWriter() {}

  static void save(BaseTokenizer tokenizer, Path folder) throws IOException {
    ObjectNode root = tokenizer.layout().deepCopy();
    root.putArray("added_tokens");
    Vocabulary vocabulary = tokenizer.vocabulary();
    vocabulary.added().forEach(token -> Layouts.add(root, token));
    ObjectNode model = (ObjectNode) root.get("model");
    ObjectNode ids = model.putObject("vocab");
    for (int id = 0; id < vocabulary.size(); id++) {
      if (!vocabulary.outside(vocabulary.token(id))) {
        ids.put(vocabulary.token(id), id);
      }
    }
    if (tokenizer.merges() != null) {
      write(tokenizer.merges(), model.putArray("merges"));
    }
    ObjectNode config = root.objectNode();
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    config.put("clean_up_tokenization_spaces", false);
    for (SpecialToken role : SpecialToken.values()) {
      if (vocabulary.id(role) != null) {
        config.put(role.key, vocabulary.token(vocabulary.id(role)));
      }
    }
    AtomicFiles.write(folder.resolve("tokenizer.json"), TokenizerFile.JSON.writeValueAsBytes(root));
    AtomicFiles.write(
        folder.resolve("tokenizer_config.json"),
        TokenizerFile.JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(config));
  }

  /** As strings, which every release reads; as pairs where a token has a space. */
  private static void write(List<String[]> merges, ArrayNode out) {
    boolean spaces = merges.stream().anyMatch(pair -> (pair[0] + pair[1]).indexOf(' ') >= 0);
    for (String[] pair : merges) {
      if (spaces) {
        out.addArray().add(pair[0]).add(pair[1]);
      } else {
        out.add(pair[0] + " " + pair[1]);
      }
    }
  }
}
