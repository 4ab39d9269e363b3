// llm_c.c: times llm.c's training step on the CPU, on GPT-2 124M's shape with random weights.
//
//   gcc -Ofast -march=native -fopenmp -DTESTING -I LLM_C_CHECKOUT llm_c.c -lm -o llm_c
//   ./llm_c BATCH LENGTH RUNS
//
// Prints tokens per second, the median of RUNS steps after one that does not count.
#include "train_gpt2.c"

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static GPT2 randomModel(void) {
  GPT2 model = {0};
  model.config = (GPT2Config){.max_seq_len = 1024, .vocab_size = 50257, .padded_vocab_size = 50304, .num_layers = 12,
                              .num_heads = 12, .channels = 768};
  fill_in_parameter_sizes(model.param_sizes, model.config);
  for (int i = 0; i < NUM_PARAMETER_TENSORS; ++i) model.num_parameters += model.param_sizes[i];
  model.params_memory = malloc_and_point_parameters(&model.params, model.param_sizes);
  for (size_t i = 0; i < model.num_parameters; ++i) {
    model.params_memory[i] = 0.02f * (float)((double)rand() / RAND_MAX * 3.4 - 1.7);
  }
  model.mean_loss = -1;
  return model;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s BATCH LENGTH RUNS\n", argv[0]);
    return 2;
  }
  int batch = atoi(argv[1]), length = atoi(argv[2]), runs = atoi(argv[3]), count = batch * length;
  GPT2 model = randomModel();
  int *tokens = malloc(2 * (size_t)count * sizeof *tokens);
  double *rates = malloc((size_t)runs * sizeof *rates);
  for (int run = -1; run < runs; ++run) {
    for (int i = 0; i < 2 * count; ++i) tokens[i] = rand() % model.config.vocab_size;
    double started = seconds();
    gpt2_forward(&model, tokens, tokens + count, (size_t)batch, (size_t)length);
    gpt2_zero_grad(&model);
    gpt2_backward(&model);
    gpt2_update(&model, 1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, run + 2);
    if (run >= 0) rates[run] = count / (seconds() - started);
  }
  qsort(rates, (size_t)runs, sizeof *rates, ascending);
  printf("%.1f\n", rates[runs / 2]);
  return 0;
}
