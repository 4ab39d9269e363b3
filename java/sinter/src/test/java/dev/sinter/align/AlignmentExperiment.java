package dev.sinter.align;

import dev.sinter.align.Responses.Response;
import dev.sinter.data.Tokens;
import dev.sinter.evaluate.Perplexity;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.text.BpeTokenizer;
import dev.sinter.text.Tokenizer;
import dev.sinter.train.AdamW;
import dev.sinter.train.Schedule;
import dev.sinter.train.Trainer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * GPT-3.5's steps on {@link SmallTalk}: a model pre-trained on mixed text, tuned on demonstrations,
 * a reward model of rankings with errors, then PPO in several forms and DPO, all measured on
 * questions that none of them has seen.
 */
final class AlignmentExperiment implements AutoCloseable {
  private static final int CONTEXT = 64;
  private static final int ANSWER = 32;
  private static final int ANSWERS_TO_EACH = 16;

  private final Device device = Device.cpu(2);
  private final long seed;
  private final Chat chat;
  private final LanguageModel tuned;
  private final RewardModel reward;
  private final RewardTrainer.Result rewardResult;
  private final Tokens text;
  private final Tokens heldText;
  private final List<Conversation> heldPrompts = SmallTalk.prompts(true);
  private final List<Ranking> rankings;
  private final List<Ranking> heldRankings;

  /**
   * How a model answers questions that it has not seen.
   *
   * @param rewards mean of the reward model's scores, an answer without an end having -1
   * @param deviation of a single answer's
   * @param goodness mean of what the reward model was to learn, 0 to 4
   * @param ended share of answers that come to their end
   * @param kl divergence from the tuned model, a sum over an answer's tokens
   * @param textLoss of held-out pre-training text, in nats a token
   */
  record Measured(
      double rewards,
      double deviation,
      double goodness,
      double ended,
      double kl,
      double textLoss) {}

  AlignmentExperiment(long seed) {
    this.seed = seed;
    SmallTalk talk = new SmallTalk(seed);
    List<Conversation> written = talk.text(3000, false);
    chat = new Chat(tokenizer(written), ChatTemplate.plain());
    text = tokens(written);
    heldText = tokens(talk.text(150, true));
    List<Conversation> demonstrations = talk.demonstrations(600, false);
    rankings = talk.rankings(600, false);
    heldRankings = talk.rankings(200, true);

    GptConfig config = GptConfig.of(chat.tokenizer().size(), CONTEXT, 64, 2, 4);
    tuned = LanguageModel.create(config, device, DType.F32, seed);
    Trainer.of(tuned)
        .data(text, 16)
        .steps(600)
        .seed(seed)
        .optimizer(AdamW.of(Schedule.cosine(3e-3, 3e-4).warmup(20)))
        .run();
    SupervisedTuning tuning = new SupervisedTuning(tuned, chat, demonstrations, 4, CONTEXT, seed);
    tuning.run(adamW(1e-3), tuning.steps(2), step -> {});
    reward = RewardModel.of(Copies.rewardOf(tuned, seed), chat);
    RewardTrainer trainer = new RewardTrainer(reward, rankings, 8, CONTEXT, seed);
    trainer.run(adamW(1e-3), trainer.steps(1), step -> {});
    reward.center(demonstrations);
    rewardResult = RewardTrainer.evaluate(reward, heldRankings);
  }

  private static Tokenizer tokenizer(List<Conversation> written) {
    StringBuilder all = new StringBuilder("System:\nUser:\nAssistant:\n");
    for (Conversation conversation : written) {
      conversation.messages().forEach(message -> all.append(message.content()).append('\n'));
    }
    return BpeTokenizer.train(all, 384);
  }

  private Tokens tokens(List<Conversation> written) {
    return Tokens.of(
        written.stream().flatMapToInt(one -> IntStream.of(chat.example(one).tokens())).toArray());
  }

  private static AdamW adamW(double rate) {
    return AdamW.of(Schedule.cosine(rate, rate / 10)).withWeightDecay(0);
  }

  RewardTrainer.Result reward() {
    return rewardResult;
  }

  LanguageModel tuned() {
    return tuned;
  }

  Chat chat() {
    return chat;
  }

  RewardModel rewardModel() {
    return reward;
  }

  /** A training that has not begun. */
  Ppo ppo(double beta, double textWeight, int iterations) {
    Ppo ppo =
        new Ppo(tuned, reward, SmallTalk.prompts(false), ANSWER)
            .batch(64, 16, 2)
            .kl(KlControl.fixed(beta))
            .optimizers(Ppo.adamW(5e-4), Ppo.adamW(1e-3))
            .iterations(iterations)
            .heldText(heldText)
            .seed(seed);
    return textWeight == 0 ? ppo : ppo.pretraining(text, 16, textWeight);
  }

  /** A copy of the tuned model after DPO; the caller closes it. */
  LanguageModel dpo() {
    LanguageModel model = Copies.of(tuned);
    Dpo dpo = new Dpo(model, chat, rankings, heldRankings, 16, CONTEXT, 0.1, 0, seed);
    dpo.run(adamW(1e-4), dpo.steps(1), step -> {});
    return model;
  }

  Measured measure(LanguageModel model) {
    List<int[]> prompts = new ArrayList<>();
    for (int i = 0; i < ANSWERS_TO_EACH; i++) {
      heldPrompts.forEach(prompt -> prompts.add(chat.prompt(prompt)));
    }
    List<Response> answers =
        new Responses(model, chat.endToken(), ANSWER, 1).to(prompts, seed + 77);
    double[] scores = reward.score(answers.stream().map(Response::tokens).toList());
    double goodness = 0;
    double ended = 0;
    for (int i = 0; i < scores.length; i++) {
      Response answer = answers.get(i);
      int length = answer.tokens().length - (answer.ended() ? 1 : 0);
      int[] said = Arrays.copyOfRange(answer.tokens(), answer.prompt(), length);
      goodness +=
          (double)
                  SmallTalk.goodness(
                      heldPrompts.get(i % heldPrompts.size()), chat.tokenizer().decode(said))
              / scores.length;
      ended += answer.ended() ? 1.0 / scores.length : 0;
      scores[i] = answer.ended() ? scores[i] : -1;
    }
    double mean = Arrays.stream(scores).average().orElseThrow();
    double square = Arrays.stream(scores).map(score -> (score - mean) * (score - mean)).sum();
    try (Perplexity perplexity = new Perplexity(model, CONTEXT, CONTEXT)) {
      return new Measured(
          mean,
          Math.sqrt(square / (scores.length - 1)),
          goodness,
          ended,
          kl(model, answers),
          perplexity.evaluate(heldText, 0, (done, all) -> {}).loss());
    }
  }

  private double kl(LanguageModel model, List<Response> answers) {
    double sum = 0;
    try (Likelihoods now = Likelihoods.of(model, 16, CONTEXT, 1);
        Likelihoods reference = Likelihoods.of(tuned, 16, CONTEXT, 1)) {
      for (int from = 0; from < answers.size(); from += 16) {
        List<Example> some =
            answers.subList(from, from + 16).stream().map(Response::example).toList();
        now.forward(some, 0);
        reference.forward(some, 0);
        for (int row = 0; row < 16; row++) {
          sum += Arrays.stream(now.logProbabilities(row)).sum();
          sum -= Arrays.stream(reference.logProbabilities(row)).sum();
        }
      }
    }
    return sum / answers.size();
  }

  /** Some answers, to look at. */
  List<String> samples(LanguageModel model, int count) {
    List<int[]> prompts = heldPrompts.stream().limit(count).map(chat::prompt).toList();
    return new Responses(model, chat.endToken(), ANSWER, 1)
        .to(prompts, seed).stream()
            .map(answer -> chat.tokenizer().decode(answer.tokens()).replace('\n', ' '))
            .toList();
  }

  @Override
  public void close() {
    reward.close();
    tuned.close();
    device.close();
  }
}
