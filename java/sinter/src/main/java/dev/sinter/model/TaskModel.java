package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.constant;
import static dev.sinter.graph.ParameterSpec.normal;

import dev.sinter.graph.Activation;
import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.GraphBuilder.Mode;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Parameters;
import dev.sinter.graph.Recompute;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import dev.sinter.model.Head.Loss;
import dev.sinter.model.Head.Task;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * A BERT or a GPT with a head for a task. Many graphs may read one model; it trains by one thread
 * alone.
 */
public final class TaskModel implements Model {
  /** The names that heads' parameters begin with; all others are the backbone's. */
  static final List<String> HEADS =
      List.of("cls.", "classifier.", "qa_outputs.", "score.", "multiple_choice_head.");

  private static final String POOLER = "pooler.dense";
  private static final String TRANSFORM = "cls.predictions.transform.dense";
  private static final String TRANSFORM_NORM = "cls.predictions.transform.LayerNorm";
  private static final String WORD_BIAS = "cls.predictions.bias";
  private static final String NEXT = "cls.seq_relationship";

  private final Backbone backbone;
  private final Bert bert;
  private final GptConfig gptConfig;
  private final Head head;
  private final String classifier;
  private final float headDropout;
  private final Device device;
  private final Weights weights;
  private final Parameters parameters;
  private final Adapter adapter;
  private final boolean owned;

  /** Modules whose weights no file had: an adapter has to train them whole. */
  private Set<String> drawn = Set.of();

  /** Whether a parameter of that name belongs to a head, BERT's pooler included. */
  static boolean isOfHead(String name) {
    return name.startsWith(POOLER) || HEADS.stream().anyMatch(name::startsWith);
  }

  /** The names under which files hold these parameters. */
  static Set<String> partsOf(List<ParameterSpec> parameters) {
    return parameters.stream().flatMap(spec -> spec.parts().stream()).collect(Collectors.toSet());
  }

  /**
   * Allocates a BERT with zero weights.
   *
   * @param config its shape
   * @param head its task
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   */
  public TaskModel(BertConfig config, Head head, Device device, DType dtype) {
    this(new Bert(config), null, head, config.headDropout(), device, dtype);
  }

  /**
   * Allocates a GPT with zero weights.
   *
   * @param config its shape
   * @param head its task: not one of BERT's pre-training, nor {@link Task#SPAN}
   * @param device where; it stays the caller's
   * @param dtype in which operations read the weights
   */
  public TaskModel(GptConfig config, Head head, Device device, DType dtype) {
    this(new GptLayers(config), config, head, config.residualDropout(), device, dtype);
  }

  private TaskModel(
      Backbone backbone,
      GptConfig gptConfig,
      Head head,
      float headDropout,
      Device device,
      DType dtype) {
    this.backbone = backbone;
    this.bert = backbone instanceof Bert encoder ? encoder : null;
    this.gptConfig = gptConfig;
    this.head = head;
    this.classifier = classifier(backbone, head);
    this.headDropout = headDropout;
    this.device = device;
    this.parameters = new Parameters(device, dtype, parameters(backbone, head));
    this.weights = parameters;
    this.adapter = null;
    this.owned = true;
  }

  /**
   * @param adapter of this model; null: it has none
   */
  private TaskModel(TaskModel of, Head head, Adapter adapter, boolean owned) {
    this.backbone = of.backbone;
    this.bert = of.bert;
    this.gptConfig = of.gptConfig;
    this.head = head;
    this.classifier = classifier(backbone, head);
    this.headDropout = of.headDropout;
    this.device = of.device;
    this.adapter = adapter;
    this.weights = adapter == null ? of.weights : adapter.weights();
    this.parameters = adapter == null ? of.parameters : adapter.parameters();
    this.owned = owned;
    if (!parameters(backbone, head).stream().allMatch(this::has)) {
      throw new IllegalArgumentException(
          "the model has no head for " + head.task() + "; it has that for " + of.head.task());
    }
  }

  private boolean has(ParameterSpec wanted) {
    return weights.specs().stream()
        .anyMatch(
            spec ->
                spec.name().equals(wanted.name()) && Arrays.equals(spec.shape(), wanted.shape()));
  }

  /**
   * Returns the same weights under another head: one that needs none of its own, as {@link
   * Task#MEAN}, or that shares this one's.
   *
   * @param other its task
   * @return a view, which need not be closed; it ends with this model
   * @throws IllegalArgumentException where the other head needs weights that are not there
   */
  public TaskModel withHead(Head other) {
    return new TaskModel(this, other, adapter, false);
  }

  /**
   * Lays a new adapter over this model, which stays as it is. The task's head is copied and trains
   * whole, as does all else that no file had weights of, such as a pooler.
   *
   * @param config how many parameters it adds, and where
   * @param seed equal seeds give equal adapters
   * @return a model that trains the adapter alone; the caller closes it, and then this one
   * @throws IllegalArgumentException where this model has no such modules, or is adapted
   */
  public TaskModel adapted(AdapterConfig config, long seed) {
    Set<String> whole = new LinkedHashSet<>(config.modulesToSave());
    whole.addAll(drawn);
    AdapterConfig all = config.withModulesToSave(whole.toArray(String[]::new));
    return over(Adapter.create(device, weights, AdapterPlan.of(adaptable(), all), seed));
  }

  /**
   * Notes which modules have new weights.
   *
   * @param there the parameters' parts that files hold
   */
  TaskModel withDrawn(Set<String> there) {
    drawn = new LinkedHashSet<>();
    for (String part : partsOf(parameters.specs())) {
      if (!there.contains(part)) {
        drawn.add(part.substring(0, part.lastIndexOf('.')));
      }
    }
    return this;
  }

  /** The same model with an adapter over its weights, which it closes. */
  TaskModel over(Adapter over) {
    return new TaskModel(this, head, over, true);
  }

  /** What an adapter has to know of this model. */
  Adaptable adaptable() {
    List<ParameterSpec> specs = parameters(backbone, head);
    Map<String, Layout> linear = new HashMap<>(backbone.linear());
    for (ParameterSpec spec : specs.subList(backbone.parameters().size(), specs.size())) {
      if (spec.shape().length == 2) {
        linear.put(spec.name(), Layout.OUT_IN);
      }
    }
    String taskType =
        switch (head.task()) {
          case SEQUENCE -> "SEQ_CLS";
          case TOKENS -> "TOKEN_CLS";
          case SPAN -> "QUESTION_ANS";
          case MEAN, FIRST -> "FEATURE_EXTRACTION";
          case CHOICE, MASKED, PRETRAINING -> null;
        };
    boolean prefixed = head.task() != Task.MEAN && head.task() != Task.FIRST;
    return backbone.adaptable(taskType, specs, linear, classifier, prefixed);
  }

  /**
   * Returns a copy of a GPT that knows more tokens: GPT-1's heads read some of their own (Radford
   * et al. 2018, section 3.3).
   *
   * @param count how many there are behind the vocabulary
   * @param seed of their rows
   * @return the model; the caller closes it
   * @throws IllegalArgumentException for a BERT
   */
  public TaskModel withMoreTokens(int count, long seed) {
    if (gptConfig == null) {
      throw new IllegalArgumentException("a BERT's vocabulary stays as it is");
    }
    GptConfig wider = gptConfig.withVocabulary(Math.addExact(vocabulary(), count));
    TaskModel model = new TaskModel(wider, head, device, parameters.dtype()).initialize(seed);
    try {
      for (ParameterSpec spec : model.parameters.specs()) {
        float[] old = parameters.read(Parameters.Part.WEIGHT, spec.name());
        float[] all = model.parameters.read(Parameters.Part.WEIGHT, spec.name());
        System.arraycopy(old, 0, all, 0, old.length); // the new rows are the table's end
        model.parameters.write(Parameters.Part.WEIGHT, spec.name(), all);
      }
      return model;
    } catch (RuntimeException e) {
      model.close();
      throw e;
    }
  }

  /** What the parameters of such a model are, without allocating them. */
  static List<ParameterSpec> parameters(Backbone backbone, Head head) {
    boolean bert = backbone instanceof Bert;
    if (!bert && (head.isMasked() || head.task() == Task.SPAN)) {
      throw new IllegalArgumentException("a GPT has no head for " + head.task());
    }
    List<ParameterSpec> all = new ArrayList<>(backbone.parameters());
    int d = backbone.width();
    if (bert && head.isPooled()) {
      addLinear(all, backbone, POOLER, d);
    }
    if (head.isMasked()) {
      addLinear(all, backbone, TRANSFORM, d);
      Blocks.addNorm(all, TRANSFORM_NORM, d);
      all.add(constant(WORD_BIAS, 0, backbone.vocabulary()));
    }
    String classifier = classifier(backbone, head);
    if (head.task() == Task.PRETRAINING) {
      addLinear(all, backbone, NEXT, 2);
    } else if (classifier != null) {
      int classes = head.task() == Task.CHOICE ? 1 : head.labels();
      all.add(normal(classifier + ".weight", backbone.deviation(), classes, d));
      if (hasClassifierBias(backbone, head)) {
        all.add(constant(classifier + ".bias", 0, classes));
      }
    }
    return all;
  }

  private static void addLinear(List<ParameterSpec> all, Backbone backbone, String name, long out) {
    all.add(normal(name + ".weight", backbone.deviation(), out, backbone.width()));
    all.add(constant(name + ".bias", 0, out));
  }

  /** The name of the classifier's parameters; null: there is none. */
  private static String classifier(Backbone backbone, Head head) {
    boolean bert = backbone instanceof Bert;
    return switch (head.task()) {
      case SEQUENCE -> bert ? "classifier" : "score";
      case TOKENS -> "classifier";
      case SPAN -> "qa_outputs";
      case CHOICE -> bert ? "classifier" : "multiple_choice_head.summary";
      case MASKED, PRETRAINING, MEAN, FIRST -> null;
    };
  }

  private static boolean hasClassifierBias(Backbone backbone, Head head) {
    return backbone instanceof Bert || head.task() != Task.SEQUENCE;
  }

  /**
   * Draws new weights.
   *
   * @param seed equal seeds give equal weights, on any device
   * @return this
   */
  public TaskModel initialize(long seed) {
    parameters.initialize(seed);
    return this;
  }

  /**
   * Returns the task.
   *
   * @return the head
   */
  public Head head() {
    return head;
  }

  /**
   * Returns the shape of a BERT.
   *
   * @return the configuration; null: it is a GPT
   */
  public BertConfig bertConfig() {
    return bert == null ? null : bert.config();
  }

  /**
   * Returns the shape of a GPT.
   *
   * @return the configuration; null: it is a BERT
   */
  public GptConfig gptConfig() {
    return gptConfig;
  }

  /**
   * Returns the device.
   *
   * @return where the weights are
   */
  @Override
  public Device device() {
    return device;
  }

  @Override
  public Parameters parameters() {
    return parameters;
  }

  @Override
  public Weights weights() {
    return weights;
  }

  @Override
  public Adapter adapter() {
    return adapter;
  }

  /**
   * Returns the most tokens that a sequence can have.
   *
   * @return positions
   */
  public int context() {
    return backbone.context();
  }

  /**
   * Returns the width of its hidden states.
   *
   * @return elements of a vector
   */
  public int width() {
    return backbone.width();
  }

  /**
   * Returns the number of tokens that the model knows.
   *
   * @return one more than the greatest id
   */
  public int vocabulary() {
    return backbone.vocabulary();
  }

  /**
   * Traces a forward and backward pass.
   *
   * @param batch number of sequences; for choices, all choices of all questions
   * @param length tokens of each, padding included
   * @param masked how many tokens the masked head reads, over all sequences; other heads: 0
   * @param accumulate how many such passes make a step: gradients are divided by it
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public TaskGraph trainingGraph(
      int batch, int length, int masked, int accumulate, Recompute recompute, long seed) {
    return trace(Mode.TRAIN, batch, length, masked, accumulate, recompute, seed, Objective.HEAD);
  }

  /** Which losses a graph computes. */
  private enum Objective {
    HEAD,
    HEAD_AND_TEXT,
    BOTH_ORDERS_AND_TEXT,
    CALLERS
  }

  /**
   * Traces a forward and backward pass of a GPT whose loss is the head's and that of the next
   * tokens (Radford et al. 2018, section 3.2): {@link TaskGraph#nextTargets} and {@link
   * TaskGraph#nextWeights} say which tokens, and how much they weigh.
   *
   * @param batch number of sequences; for choices, all choices of all questions
   * @param length tokens of each, padding included
   * @param accumulate how many such passes make a step: gradients are divided by it
   * @param bothOrders whether two sequences at a time are the two orders of a pair, whose vectors
   *     are added before the classifier (section 3.3, similarity); targets are then half as many
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   * @throws IllegalArgumentException for a BERT, and of both orders for a head or a number of
   *     sequences that has none
   */
  public TaskGraph trainingGraphWithText(
      int batch, int length, int accumulate, boolean bothOrders, Recompute recompute, long seed) {
    if (gptConfig == null) {
      throw new IllegalArgumentException("a BERT does not tell the next token");
    }
    if (bothOrders && (head.task() != Task.SEQUENCE || batch % 2 != 0)) {
      throw new IllegalArgumentException(
          batch + " sequences under a head for " + head.task() + " are no pairs in both orders");
    }
    Objective objective = bothOrders ? Objective.BOTH_ORDERS_AND_TEXT : Objective.HEAD_AND_TEXT;
    return trace(Mode.TRAIN, batch, length, 0, accumulate, recompute, seed, objective);
  }

  /**
   * Traces a forward and backward pass whose loss the caller computes, from the head's outputs:
   * {@link TaskGraph#forward}, {@link TaskGraph#outputs}, {@link TaskGraph#outputGradients}, {@link
   * TaskGraph#backward}.
   *
   * @param batch number of sequences; for choices, all choices of all questions
   * @param length tokens of each, padding included
   * @param recompute what the backward pass computes again
   * @param seed of dropout
   * @return the graph; the caller closes it
   */
  public TaskGraph outputGraph(int batch, int length, Recompute recompute, long seed) {
    return trace(Mode.TRAIN, batch, length, 0, 1, recompute, seed, Objective.CALLERS);
  }

  /**
   * Traces a forward pass that gives the head's outputs and their loss.
   *
   * @param batch number of sequences; for choices, all choices of all questions
   * @param length tokens of each, padding included
   * @param masked how many tokens the masked head reads, over all sequences; other heads: 0
   * @return the graph; the caller closes it
   */
  public TaskGraph graph(int batch, int length, int masked) {
    return trace(Mode.INFERENCE, batch, length, masked, 1, Recompute.NONE, 0, Objective.HEAD);
  }

  private TaskGraph trace(
      Mode mode,
      int batch,
      int length,
      int masked,
      int accumulate,
      Recompute recompute,
      long seed,
      Objective objective) {
    check(batch, length, masked);
    GraphBuilder g = new GraphBuilder(weights, mode, recompute, seed);
    TaskGraph.Inputs in = new TaskGraph.Inputs();
    in.tokens = g.input("tokens", batch, length);
    in.segments = backbone.hasSegments() ? g.input("segments", batch, length) : null;
    in.lengths = g.input("lengths", batch);
    Tensor hidden = backbone.hidden(g, weights, in.tokens, in.segments, in.lengths);
    Tensor pooled = head.isPooled() ? pooled(g, hidden, in, batch) : null;
    int pairs = objective == Objective.BOTH_ORDERS_AND_TEXT ? 2 : 1;
    if (pairs == 2) {
      pooled = g.add("both orders", every(g, pooled, in, batch, 0), every(g, pooled, in, batch, 1));
    }
    List<Tensor> outputs = new ArrayList<>();
    switch (head.task()) {
      case MASKED, PRETRAINING -> {
        outputs.add(words(g, hidden, in, masked));
        if (head.task() == Task.PRETRAINING) {
          outputs.add(linear(g, NEXT, pooled));
        }
      }
      case SEQUENCE -> outputs.add(classify(g, pooled));
      case CHOICE -> outputs.add(g.view(classify(g, pooled), batch / head.labels(), head.labels()));
      case TOKENS -> outputs.add(classify(g, hidden));
      case SPAN -> outputs.add(startsAndEnds(g, classify(g, hidden), in, batch, length));
      case MEAN -> {
        in.rowWeights = g.floatInput("row weights", batch, length);
        outputs.add(g.widen(g.weightedRows("mean", in.rowWeights, hidden)));
      }
      case FIRST -> {
        in.pooledRows = g.input("rows", batch);
        outputs.add(g.widen(g.gather("first", hidden, in.pooledRows)));
      }
    }
    if (objective == Objective.CALLERS) {
      Tensor output = g.widen(outputs.get(0));
      Tensor gradient = g.callersGradient(output);
      return new TaskGraph(
          this, g.build(), in, List.of(), null, List.of(output), gradient, accumulate);
    }
    List<Tensor> losses = losses(g, outputs, in, batch / pairs, length, masked);
    if (objective != Objective.HEAD) {
      Tensor next = ((GptLayers) backbone).logits(g, weights, hidden);
      losses = List.of(losses.get(0), classLoss(g, next, in, "next tokens", batch, length));
    }
    boolean training = mode == Mode.TRAIN;
    if (training && losses.isEmpty()) {
      throw new IllegalArgumentException(head.task() + " has no loss to train with");
    }
    List<Tensor> sums = losses.stream().map(loss -> g.output(g.sum(loss, 1))).toList();
    Tensor sum = sums.stream().reduce((a, b) -> g.output(g.add("loss", a, b))).orElse(null);
    // In training gradients take the outputs' place.
    List<Tensor> kept = training ? List.of() : outputs.stream().map(g::output).toList();
    return new TaskGraph(this, g.build(), in, sums, sum, kept, null, accumulate);
  }

  /** Every other row, from the first or from the second on. */
  private static Tensor every(
      GraphBuilder g, Tensor rows, TaskGraph.Inputs in, int batch, int first) {
    int[] places = new int[batch / 2];
    for (int i = 0; i < places.length; i++) {
      places[i] = 2 * i + first;
    }
    Tensor from = g.input("order " + first, places.length);
    in.constants.put(from, places);
    return g.gather("order " + first, rows, from);
  }

  private List<Tensor> losses(
      GraphBuilder g,
      List<Tensor> outputs,
      TaskGraph.Inputs in,
      int batch,
      int length,
      int masked) {
    Tensor logits = outputs.get(0);
    return switch (head.task()) {
      case MASKED -> List.of(classLoss(g, logits, in, "targets", masked));
      case PRETRAINING ->
          List.of(
              classLoss(g, logits, in, "targets", masked),
              classLoss(g, outputs.get(1), in, "next targets", batch));
      case SEQUENCE -> List.of(sequenceLoss(g, logits, in, batch));
      case CHOICE -> List.of(classLoss(g, logits, in, "targets", batch / head.labels()));
      case TOKENS -> List.of(classLoss(g, logits, in, "targets", batch, length));
      case SPAN -> List.of(classLoss(g, logits, in, "targets", batch, 2));
      case MEAN, FIRST -> List.of();
    };
  }

  private void check(int batch, int length, int masked) {
    if (length < 1 || length > context()) {
      throw new IllegalArgumentException(
          length + " tokens; this model's context is 1 to " + context());
    }
    if (batch < 1 || head.task() == Task.CHOICE && batch % head.labels() != 0) {
      throw new IllegalArgumentException(
          batch + " sequences; 1 or more, and a multiple of the number of choices");
    }
    if (head.isMasked() ? masked < 1 : masked != 0) {
      throw new IllegalArgumentException(
          masked + " masked tokens; at least 1 for a masked head, 0 for others");
    }
  }

  /** BERT: the first token's hidden state through the pooler; GPT: the last token's. */
  private Tensor pooled(GraphBuilder g, Tensor hidden, TaskGraph.Inputs in, int batch) {
    in.pooledRows = g.input("rows", batch);
    Tensor row = g.gather("pooled row", hidden, in.pooledRows);
    if (bert == null) {
      return row;
    }
    return g.linear(
        POOLER,
        row,
        weights.get(POOLER + ".weight"),
        Layout.OUT_IN,
        weights.get(POOLER + ".bias"),
        Activation.TANH);
  }

  /** Whether padding counts from the front: where a sequence's pooled row is. */
  boolean poolsFirst() {
    return bert != null || head.task() == Task.FIRST;
  }

  /** Logits of the words behind the masks (Devlin et al. 2019, section 3.1). */
  private Tensor words(GraphBuilder g, Tensor hidden, TaskGraph.Inputs in, int masked) {
    in.maskedRows = g.input("masked rows", masked);
    Tensor x =
        g.linear(
            TRANSFORM,
            g.gather("masked", hidden, in.maskedRows),
            weights.get(TRANSFORM + ".weight"),
            Layout.OUT_IN,
            weights.get(TRANSFORM + ".bias"),
            bert.config().activation());
    Tensor normed = bert.norm(g, weights, TRANSFORM_NORM, x);
    return g.lossLogits(normed, bert.words(weights), weights.get(WORD_BIAS));
  }

  private Tensor classify(GraphBuilder g, Tensor x) {
    boolean drops =
        head.task() != Task.SPAN && hasClassifierBias(backbone, head) && g.drops(headDropout);
    return linear(
        g, classifier, drops ? g.dropout(classifier + " dropout", x, headDropout, null) : x);
  }

  private Tensor linear(GraphBuilder g, String name, Tensor x) {
    boolean biased = !name.equals(classifier) || hasClassifierBias(backbone, head);
    Tensor bias = biased ? weights.get(name + ".bias") : null;
    return g.logits(x, weights.get(name + ".weight"), bias);
  }

  /** Logits [batch, length, 2] as rows of starts and of ends, [batch, 2, length]. */
  private static Tensor startsAndEnds(
      GraphBuilder g, Tensor logits, TaskGraph.Inputs in, int batch, int length) {
    int[] order = new int[2 * batch * length];
    for (int i = 0; i < order.length; i++) {
      int place = i % length;
      int side = i / length % 2;
      int sequence = i / length / 2;
      order[i] = (sequence * length + place) * 2 + side;
    }
    Tensor from = g.input("order", order.length);
    in.constants.put(from, order);
    Tensor across = g.gather("starts and ends", g.view(logits, order.length, 1), from);
    return g.view(across, batch, 2, length);
  }

  private static Tensor classLoss(
      GraphBuilder g, Tensor logits, TaskGraph.Inputs in, String name, long... shape) {
    Tensor targets = g.input(name, shape);
    Tensor weights = g.floatInput(name + " weights", shape);
    in.targets.add(targets);
    in.weights.add(weights);
    return g.crossEntropy(logits, targets, weights, 0, 1);
  }

  private Tensor sequenceLoss(GraphBuilder g, Tensor logits, TaskGraph.Inputs in, int batch) {
    if (head.loss() == Loss.CROSS_ENTROPY) {
      return classLoss(g, logits, in, "targets", batch);
    }
    Tensor targets = g.floatInput("targets", batch, head.labels());
    Tensor weights = g.floatInput("weights", batch, head.labels());
    in.targets.add(targets);
    in.weights.add(weights);
    return head.loss() == Loss.SQUARED_ERROR
        ? g.squaredError(logits, targets, weights, 1)
        : g.binaryCrossEntropy(logits, targets, weights, 1);
  }

  /** Gives the weights back, of a view nothing. Closing twice is harmless. */
  @Override
  public void close() {
    if (owned && adapter != null) {
      adapter.close();
    } else if (owned) {
      weights.close();
    }
  }
}
