package dev.sinter.align;

import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * How one talks with a model: its tokenizer, and the template in which it reads conversations.
 *
 * @param tokenizer of the model
 * @param template of its conversations
 */
public record Chat(Tokenizer tokenizer, ChatTemplate template) {
  /** Checks that an answer can end. */
  public Chat {
    Objects.requireNonNull(tokenizer, "tokenizer");
    template.endToken(tokenizer);
  }

  /**
   * Reads tokenizer and template of a model.
   *
   * @param folder of the model
   * @param otherwise the template where the folder has none
   * @return both
   * @throws IOException where a file is not what it should be
   */
  public static Chat load(Path folder, ChatTemplate otherwise) throws IOException {
    return new Chat(Tokenizer.load(folder), ChatTemplate.load(folder).orElse(otherwise));
  }

  /**
   * Writes tokenizer and template beside a model.
   *
   * @param folder that exists
   * @throws IOException where they cannot be written
   */
  public void save(Path folder) throws IOException {
    tokenizer.save(folder);
    template.save(folder);
  }

  /**
   * Returns the token that ends an answer.
   *
   * @return its id
   */
  public int endToken() {
    return template.endToken(tokenizer);
  }

  /**
   * Writes a conversation up to where the model answers.
   *
   * @param conversation so far
   * @return tokens
   */
  public int[] prompt(Conversation conversation) {
    return template.prompt(conversation, tokenizer);
  }

  Example example(Conversation conversation) {
    return template.example(conversation, tokenizer);
  }

  /** All responses to a prompt, each behind it. */
  List<Example> responses(Ranking ranking) {
    List<Example> examples = new ArrayList<>();
    for (String response : ranking.responses()) {
      examples.add(template.response(ranking.prompt(), response, tokenizer));
    }
    return examples;
  }

  /** Those of some rankings that fit, with what was left out counted. */
  Ranked ranked(List<Ranking> rankings, int length) {
    List<List<Example>> kept = new ArrayList<>();
    List<int[]> ranks = new ArrayList<>();
    for (Ranking ranking : rankings) {
      List<Example> responses = responses(ranking);
      if (responses.stream().allMatch(one -> one.tokens().length <= length)) {
        kept.add(responses);
        ranks.add(ranking.ranks().stream().mapToInt(Integer::intValue).toArray());
      }
    }
    return new Ranked(kept, ranks, rankings.size() - kept.size());
  }

  /**
   * Rankings as a model reads them.
   *
   * @param responses of each prompt
   * @param ranks of each prompt's responses
   * @param tooLong how many rankings were left out
   */
  record Ranked(List<List<Example>> responses, List<int[]> ranks, int tooLong) {
    int size() {
      return responses.size();
    }

    /** The most responses that a prompt has. */
    int most() {
      return responses.stream().mapToInt(List::size).max().orElse(0);
    }

    void requireSome(int length) {
      if (responses.isEmpty()) {
        throw new IllegalArgumentException(
            "no ranking whose responses all have at most "
                + length
                + " tokens with their prompt; take a greater length, or shorter ones");
      }
    }
  }
}
