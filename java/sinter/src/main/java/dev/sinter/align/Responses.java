package dev.sinter.align;

import dev.sinter.generate.Completion;
import dev.sinter.generate.Engine;
import dev.sinter.generate.EngineSettings;
import dev.sinter.generate.Request;
import dev.sinter.generate.Sampling;
import dev.sinter.graph.WeightFormat;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LanguageModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * Has a model answer prompts, many at once.
 *
 * @param model that answers; its weights are packed as they are at the moment, in fp32
 * @param end the token that ends an answer
 * @param most tokens of an answer, its end included
 * @param temperature of the sampling, more than 0
 */
record Responses(LanguageModel model, int end, int most, double temperature) {
  private static final int SLOTS = 64;

  /**
   * A prompt with its answer.
   *
   * @param example whose tokens are both; the answer's alone are to be learned
   * @param prompt tokens of the prompt
   * @param ended whether the answer came to its end
   */
  record Response(Example example, int prompt, boolean ended) {
    int[] tokens() {
      return example.tokens();
    }

    int length() {
      return tokens().length - prompt;
    }
  }

  /**
   * Answers prompts.
   *
   * @param prompts each, with an answer, no longer than the context
   * @param seed of the first; each has the next one
   * @return an answer to each
   */
  List<Response> to(List<int[]> prompts, long seed) {
    if (prompts.isEmpty()) {
      return List.of();
    }
    Sampling sampling =
        Sampling.defaults()
            .withTemperature(temperature)
            .withMaxNewTokens(most)
            .withEndTokens(Set.of(end));
    List<Request> requests = new ArrayList<>();
    for (int[] prompt : prompts) {
      requests.add(Request.of(prompt, sampling.withSeed(seed + requests.size())));
    }
    int longest = prompts.stream().mapToInt(prompt -> prompt.length).max().orElseThrow() + most;
    EngineSettings settings = EngineSettings.defaults();
    int slots = Math.min(SLOTS, prompts.size());
    int pages = slots * (longest / settings.pageSize() + 1);
    try (FrozenModel frozen = FrozenModel.of(model, WeightFormat.F32);
        Engine engine = Engine.of(frozen, null, settings.withSlots(slots).withPages(pages))) {
      List<Completion> completions = engine.complete(requests);
      List<Response> responses = new ArrayList<>();
      for (int i = 0; i < prompts.size(); i++) {
        responses.add(response(prompts.get(i), completions.get(i)));
      }
      return responses;
    }
  }

  private Response response(int[] prompt, Completion completion) {
    int count = completion.tokens().size();
    int[] tokens = Arrays.copyOf(prompt, prompt.length + count);
    boolean[] answers = new boolean[tokens.length];
    for (int i = 0; i < count; i++) {
      tokens[prompt.length + i] = completion.tokens().get(i).id();
      answers[prompt.length + i] = true;
    }
    boolean ended = tokens[tokens.length - 1] == end;
    return new Response(new Example(tokens, answers), prompt.length, ended);
  }
}
