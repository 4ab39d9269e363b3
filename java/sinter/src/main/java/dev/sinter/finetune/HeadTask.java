package dev.sinter.finetune;

import dev.sinter.data.DataException;
import dev.sinter.model.GptConfig;
import dev.sinter.model.Head;
import dev.sinter.model.ModelFiles;
import dev.sinter.model.TaskModel;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** A task of a head on a BERT or a GPT. */
abstract sealed class HeadTask extends Task
    permits ClassifyTask, TagTask, AnswerTask, ChoiceTask, SimilarityTask, RankTask {

  /** The head that the task needs. */
  abstract Head head(TaskSpec spec);

  /** Whether a pair has no order, so that GPT-1 reads both and adds their vectors. */
  boolean readsBothOrders() {
    return false;
  }

  /**
   * Adds what the model shall read of a sample; what is right is left out where it is not known.
   */
  abstract void encode(Sample sample, TaskSpec spec, Inputs inputs, List<Example> to)
      throws DataException;

  /**
   * What the head says of a sample.
   *
   * @param parts the examples that it was encoded to
   * @param outputs of each of their sequences, as TaskRunner gives them
   */
  abstract Prediction predict(
      Sample sample, TaskSpec spec, List<Example> parts, List<float[]> outputs);

  /** The metrics' names, the one that chooses the best checkpoint first. */
  abstract List<String> metricNames(TaskSpec spec);

  abstract Map<String, Double> metrics(
      List<Sample> samples, List<Prediction> predictions, TaskSpec spec);

  /** The longest input that is worth its time. */
  int longest(TaskModel model) {
    return model.context();
  }

  @Override
  Learner learner(TaskSpec spec, Loading loading, Tuning tuning) throws IOException {
    Head head = head(spec);
    TaskModel model =
        loading.fresh()
            ? ModelFiles.loadForTask(
                loading.folder(),
                head,
                loading.device(),
                loading.dtype(),
                tuning.seed(),
                isOther(loading, head, spec.labels()))
            : ModelFiles.loadTask(loading.folder(), head, loading.device(), loading.dtype());
    try {
      List<Integer> marks = spec.marks();
      if (loading.fresh() && marks.isEmpty() && isFirst(model.gptConfig())) {
        int first = model.vocabulary();
        marks = Stream.iterate(first, id -> id + 1).limit(3).toList();
        TaskModel wider = model.withMoreTokens(marks.size(), tuning.seed());
        model.close();
        model = wider;
      }
      int length = spec.length() == 0 ? longest(model) : Math.min(spec.length(), model.context());
      Inputs inputs = new Inputs(loading.tokenizer(), length, marks);
      return new HeadLearner(this, model, spec.withInput(length, marks), inputs, tuning);
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
  }

  private static boolean isFirst(GptConfig config) {
    return config != null && config.family() == GptConfig.Family.GPT1;
  }

  /** Whether the folder's head is none for this task with these labels. */
  private static boolean isOther(Loading loading, Head head, List<String> labels)
      throws IOException {
    Head there = ModelFiles.readHead(loading.folder());
    return there.task() != head.task()
        || there.task() != Head.Task.CHOICE && !there.equals(head)
        || !labels.isEmpty() && !ModelFiles.readLabels(loading.folder()).equals(labels);
  }
}
