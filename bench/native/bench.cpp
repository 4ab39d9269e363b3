// bench.cpp: times every CPU operation at the shapes of a GPT-2 and writes a Markdown table: the rate, its share of
// what the machine can do (measured in the same run), and the ratio to other libraries where they do the same.
#include <sinter/sinter.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "ceilings.h"
#include "peers.h"

namespace sn::bench {

namespace {

constexpr char kUsage[] =
    R"(usage: bench/native/run [options]
  --model gpt2|nano   shapes: GPT-2 124M, or 4 layers of width 128 with characters (default: gpt2)
  --batch N           sequences of a training step (default: 4)
  --length N          tokens of a sequence (default: 256)
  --threads N         threads (default: one a core)
  --isa NAME          instruction set (default: the best)
  --only TEXT         rows whose operation or shape contains TEXT
  --blas FILE         a library with cblas_sgemm to run beside (OpenBLAS)
  --onednn FILE       a libdnnl.so.3 to run beside; it and OpenBLAS take their threads from OMP_NUM_THREADS
)";

struct Options {
  std::string model = "gpt2", isa, only, commit = "unknown";
  int64_t batch = 4, length = 256;
  Peers peers{"", "", 0};
};

struct ModelShape {
  int64_t width, heads, vocabulary, context, parameters;
};

void check(sn_status status) {
  if (status != SN_OK) throw std::runtime_error(sn_last_error());
}

class Bench {
 public:
  explicit Bench(const Options &options) : options_(options) {
    check(sn_device_create(SN_CPU, 0, options.peers.threads, options.isa.c_str(), &device_));
    check(sn_stream_create(device_, &stream_));
  }
  Bench(const Bench &) = delete;
  Bench &operator=(const Bench &) = delete;
  ~Bench() {
    for (void *memory : memory_) sn_free(device_, memory);
    sn_stream_destroy(stream_);
    sn_device_destroy(device_);
  }

  void run() {
    m_ = options_.model == "gpt2" ? ModelShape{768, 12, 50257, 1024, 124439808} : ModelShape{128, 4, 65, 64, 809856};
    rows_ = options_.batch * options_.length;
    ceilings_ = measureCeilings(sn_device_isa(device_), sn_device_threads(device_));
    head();
    for (sn_dtype dtype : {SN_F32, SN_BF16}) products(dtype);
    for (sn_dtype dtype : {SN_F32, SN_BF16}) fewRows(dtype);
    for (sn_weight_format format : {SN_WEIGHT_F32, SN_WEIGHT_BF16, SN_WEIGHT_Q8, SN_WEIGHT_Q4}) packed(format);
    for (sn_dtype dtype : {SN_F32, SN_BF16}) lowRank(dtype);
    for (sn_dtype dtype : {SN_F32, SN_BF16}) attention(dtype);
    for (sn_dtype dtype : {SN_F32, SN_BF16}) pagedAttention(dtype);
    for (sn_dtype dtype : {SN_F32, SN_BF16}) rowsAndElements(dtype);
    flat();
  }

 private:
  struct Work {
    double operations, bytes;  // of one call: floating-point operations if it is bound by them, else bytes
    sn_dtype dtype;
  };

  void head() const {
    std::string cpu = sn_device_name(device_);
    std::printf("# Every CPU operation, %s shapes, B %lld, T %lld\n\n", options_.model.c_str(),
                static_cast<long long>(options_.batch), static_cast<long long>(options_.length));
    std::printf("%s, %s, %d threads, commit %s\n\n", cpu.c_str(), sn_device_isa(device_), sn_device_threads(device_),
                options_.commit.c_str());
    std::printf(
        "Ceilings, measured in this run: fp32 multiply-add on vectors %.0f GFLOP/s, bf16 %.0f GFLOP/s, read %.1f GB/s, "
        "copy %.1f GB/s.\nOn AMX an fp32 product is six bf16 products, so its ceiling is a sixth of bf16's. Operations "
        "that stream memory are held against\nthe read rate; what a cache holds may pass it. Medians of the runs of "
        "half a second.\n\n",
        ceilings_.gflopsF32, ceilings_.gflopsBf16, ceilings_.readGb, ceilings_.copyGb);
    std::printf(
        "| operation | shape | µs | rate | of the ceiling | OpenBLAS | oneDNN |\n|---|---|---|---|---|---|---|\n");
  }

  double ceiling(const Work &work) const {
    if (work.operations == 0) return ceilings_.readGb;
    bool tiles = std::strcmp(sn_device_isa(device_), "amx") == 0;
    if (work.dtype == SN_F32) return tiles ? ceilings_.gflopsBf16 / 6 : ceilings_.gflopsF32;
    return ceilings_.gflopsBf16 > 0 ? ceilings_.gflopsBf16 : ceilings_.gflopsF32;
  }

  bool wanted(const std::string &operation, const std::string &shape) const {
    return (operation + " " + shape).find(options_.only) != std::string::npos;
  }

  // The median of at least five runs over half a second, each of ours followed by one of every peer's.
  std::vector<double> medians(const std::vector<Run> &runs) const {
    using Clock = std::chrono::steady_clock;
    std::vector<std::vector<double>> seconds(runs.size());
    for (const auto &run : runs) {
      if (run) run();
    }
    auto started = Clock::now();
    while (seconds[0].size() < 5 || Clock::now() - started < std::chrono::milliseconds(500)) {
      for (size_t i = 0; i < runs.size(); ++i) {
        if (!runs[i]) continue;
        auto before = Clock::now();
        runs[i]();
        seconds[i].push_back(std::chrono::duration<double>(Clock::now() - before).count());
      }
    }
    std::vector<double> result;
    for (auto &of : seconds) {
      std::sort(of.begin(), of.end());
      result.push_back(of.empty() ? 0 : of[of.size() / 2]);
    }
    return result;
  }

  void measure(const std::string &operation, const std::string &shape, const Work &work, const Run &ours,
               const Run &blas = {}, const Run &onednn = {}) {
    auto seconds = medians({ours, blas, onednn});
    double amount = work.operations > 0 ? work.operations : work.bytes, rate = amount / seconds[0] * 1e-9;
    double most = ceiling(work);
    std::printf("| %s | %s | %.1f | %.1f %s | ", operation.c_str(), shape.c_str(), seconds[0] * 1e6, rate,
                work.operations > 0 ? "GFLOP/s" : "GB/s");
    std::printf(most > 0 ? "%.0f%%" : "not known", 100 * rate / most);
    for (size_t i = 1; i < seconds.size(); ++i) {
      if (seconds[i] > 0) {
        std::printf(" | %.2f x", seconds[i] / seconds[0]);
      } else {
        std::printf(" | ");
      }
    }
    std::printf(" |\n");
    std::fflush(stdout);
  }

  static std::string named(const char *name, sn_dtype dtype) {
    return std::string(name) + (dtype == SN_F32 ? " fp32" : " bf16");
  }

  static int64_t sizeOf(sn_dtype dtype) { return dtype == SN_F32 ? 4 : 2; }

  template <typename T = void>
  T *allocate(int64_t bytes) {
    void *memory = nullptr;
    check(sn_allocate(device_, bytes > 0 ? bytes : 1, &memory));  // a workspace may be of no size
    memory_.push_back(memory);
    return static_cast<T *>(memory);
  }

  // Normal numbers.
  void *random(sn_dtype dtype, int64_t count) {
    auto *numbers = allocate<float>(count * 4);
    check(sn_random_normal(stream_, count, 0, 1, {1, 0, ++tensors_, nullptr}, numbers));
    if (dtype == SN_F32) return numbers;
    void *narrow = allocate(count * 2);
    check(sn_cast(stream_, count, SN_F32, numbers, SN_BF16, narrow));
    return narrow;
  }

  int32_t *randomIds(int64_t count, int64_t limit) {
    auto *ids = allocate<int32_t>(count * 4);
    std::vector<int32_t> values(static_cast<size_t>(count));
    uint32_t state = 1;
    for (auto &value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(limit));
    }
    check(sn_write(stream_, ids, values.data(), count * 4));
    return ids;
  }

  void releaseAll() {
    for (void *memory : memory_) sn_free(device_, memory);
    memory_.clear();
  }

  // ---- products ----------------------------------------------------------------------------------------------------

  struct Product {
    const char *name;
    int64_t m, n, k;
    int32_t transposeA, transposeB;
    sn_epilogue epilogue;
    bool isParameterGradient;
  };

  static std::string describe(const Product &p) {
    return std::string(p.name) + " " + std::to_string(p.m) + "×" + std::to_string(p.n) + "×" + std::to_string(p.k);
  }

  // Weights are rotated through `copies` so that each call reads them from memory, as decoding does.
  void product(sn_dtype dtype, const Product &p, int64_t copies) {
    std::string operation = named("gemm", dtype);
    if (!wanted(operation, describe(p))) return;
    sn_gemm_shape s{};
    s.batch = 1;
    s.m = p.m;
    s.n = p.n;
    s.k = p.k;
    s.transpose_a = p.transposeA;
    s.transpose_b = p.transposeB;
    s.a_stride = p.transposeA ? p.m : p.k;
    s.b_stride = p.transposeB ? p.k : p.n;
    s.c_stride = p.n;
    s.dtype = dtype;
    s.c_dtype = p.isParameterGradient ? SN_F32 : dtype;
    s.epilogue = p.epilogue;
    int64_t bytes = 0;
    check(sn_gemm_workspace(device_, &s, &bytes));
    void *a = random(dtype, p.m * p.k), *bias = random(dtype, p.n), *aux = random(dtype, p.m * p.n);
    std::vector<void *> weights;
    for (int64_t i = 0; i < copies; ++i) weights.push_back(random(dtype, p.k * p.n));
    void *c = allocate(p.m * p.n * sizeOf(s.c_dtype)), *theirs = allocate(p.m * p.n * sizeOf(s.c_dtype));
    void *workspace = allocate(bytes);
    auto run = [=, this, turn = size_t{0}]() mutable {
      check(sn_gemm(stream_, &s, nullptr, a, weights[turn++ % weights.size()], c, bias, aux, workspace));
    };
    double operations = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    double read = static_cast<double>(p.k * p.n * sizeOf(dtype));
    Work work{p.m <= 8 ? 0 : operations, read, dtype};
    measure(operation, describe(p), work, run, blasProduct(options_.peers, s, a, weights[0], theirs),
            onednnProduct(options_.peers, s, a, weights[0], theirs));
    releaseAll();
  }

  void products(sn_dtype dtype) {
    int64_t w = m_.width;
    const Product all[] = {
        {"qkv", rows_, 3 * w, w, 0, 0, SN_EPILOGUE_BIAS, false},
        {"attention output", rows_, w, w, 0, 0, SN_EPILOGUE_BIAS_RESIDUAL, false},
        {"up and GELU", rows_, 4 * w, w, 0, 0, SN_EPILOGUE_BIAS_ACTIVATION, false},
        {"down", rows_, w, 4 * w, 0, 0, SN_EPILOGUE_BIAS_RESIDUAL, false},
        {"logits", rows_, m_.vocabulary, w, 0, 1, SN_EPILOGUE_NONE, false},
        {"qkv's input gradient", rows_, w, 3 * w, 0, 1, SN_EPILOGUE_NONE, false},
        {"down's input gradient, GELU's", rows_, 4 * w, w, 0, 1, SN_EPILOGUE_ACTIVATION_BACKWARD, false},
        {"logits' input gradient", rows_, w, m_.vocabulary, 0, 0, SN_EPILOGUE_NONE, false},
        {"qkv's weight gradient", w, 3 * w, rows_, 1, 0, SN_EPILOGUE_NONE, true},
        {"down's weight gradient", 4 * w, w, rows_, 1, 0, SN_EPILOGUE_NONE, true},
        {"embedding's weight gradient", m_.vocabulary, w, rows_, 1, 0, SN_EPILOGUE_NONE, true},
    };
    for (const auto &p : all) product(dtype, p, 1);
  }

  void fewRows(sn_dtype dtype) {
    int64_t w = m_.width;
    for (int64_t rows : {1, 8}) {
      const Product all[] = {
          {"decode qkv", rows, 3 * w, w, 0, 0, SN_EPILOGUE_BIAS, false},
          {"decode up and GELU", rows, 4 * w, w, 0, 0, SN_EPILOGUE_BIAS_ACTIVATION, false},
          {"decode down", rows, w, 4 * w, 0, 0, SN_EPILOGUE_BIAS_RESIDUAL, false},
          {"decode logits", rows, m_.vocabulary, w, 0, 1, SN_EPILOGUE_NONE, false},
      };
      for (const auto &p : all) product(dtype, p, 1 + (int64_t{512} << 20) / (p.k * p.n * 4));
    }
  }

  // ---- packed weights ----------------------------------------------------------------------------------------------

  static std::string named(const char *name, sn_weight_format format) {
    const char *names[] = {" fp32", " bf16", " q8", " q4"};
    return std::string(name) + names[format];
  }

  void packed(sn_weight_format format) {
    int64_t w = m_.width;
    pack(format, "weights", w, 4 * w, 0);
    pack(format, "token table", w, m_.vocabulary, 1);
    for (int64_t rows : {int64_t{1}, int64_t{8}, int64_t{32}, rows_ / 2}) {
      linear(format, {"qkv", rows, 3 * w, w, 0, 0, SN_EPILOGUE_BIAS, false});
      linear(format, {"attention output", rows, w, w, 0, 0, SN_EPILOGUE_BIAS_RESIDUAL, false});
      linear(format, {"up and GELU", rows, 4 * w, w, 0, 0, SN_EPILOGUE_BIAS_ACTIVATION, false});
      linear(format, {"down", rows, w, 4 * w, 0, 0, SN_EPILOGUE_BIAS_RESIDUAL, false});
      linear(format, {"logits", rows, m_.vocabulary, w, 0, 0, SN_EPILOGUE_NONE, false});
    }
  }

  void pack(sn_weight_format format, const char *name, int64_t in, int64_t out, int32_t outByIn) {
    std::string operation = named("pack", format);
    std::string shape = std::string(name) + " " + std::to_string(in) + "×" + std::to_string(out);
    if (!wanted(operation, shape)) return;
    int64_t bytes = 0;
    check(sn_pack_bytes(format, in, out, &bytes));
    void *weights = random(SN_F32, in * out), *to = allocate(bytes);
    measure(operation, shape, {0, static_cast<double>(in * out * 4 + bytes), SN_F32},
            [=, this] { check(sn_pack(stream_, format, SN_F32, in, out, outByIn, weights, to)); });
    releaseAll();
  }

  // Up to 8 rows are held against memory, more against the multiply-add: of bf16 for all formats but fp32.
  void linear(sn_weight_format format, const Product &p) {
    std::string operation = named("linear", format);
    if (!wanted(operation, describe(p))) return;
    sn_linear_shape s{p.m, p.k, p.n, p.k, p.n, format, SN_F32, SN_F32, p.epilogue, SN_GELU_TANH};
    int64_t bytes = 0, size = 0;
    check(sn_linear_workspace(device_, &s, &bytes));
    check(sn_pack_bytes(format, p.k, p.n, &size));
    void *x = random(SN_F32, p.m * p.k), *bias = random(SN_F32, p.n), *aux = random(SN_F32, p.m * p.n);
    void *y = allocate(p.m * p.n * 4), *workspace = allocate(bytes), *plain = random(SN_F32, p.k * p.n);
    std::vector<void *> weights;
    for (int64_t copy = 0; copy < 1 + (int64_t{256} << 20) / size; ++copy) {
      weights.push_back(allocate(size));
      check(sn_pack(stream_, format, SN_F32, p.k, p.n, 0, plain, weights.back()));
    }
    auto run = [=, this, turn = size_t{0}]() mutable {
      check(sn_linear(stream_, &s, nullptr, x, weights[turn++ % weights.size()], y, bias, aux, workspace));
    };
    double operations = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    Work work{p.m <= 8 ? 0 : operations, static_cast<double>(size), format == SN_WEIGHT_F32 ? SN_F32 : SN_BF16};
    measure(operation, describe(p), work, run);
    releaseAll();
  }

  // ---- low-rank updates --------------------------------------------------------------------------------------------

  void lowRank(sn_dtype dtype) {
    int64_t w = m_.width;
    for (int64_t rank : {8, 64}) {
      for (int64_t rows : {1, 8, 32}) {
        for (bool alike : {false, true}) {
          if (rows == 1 && alike) continue;
          lora(dtype, "qkv", rows, w, 3 * w, rank, alike);
          lora(dtype, "up", rows, w, 4 * w, rank, alike);
          lora(dtype, "down", rows, 4 * w, w, rank, alike);
        }
      }
    }
    lora(dtype, "qkv", rows_ / 2, w, 3 * w, 8, true);
    lora(dtype, "qkv", rows_ / 2, w, 3 * w, 64, true);
  }

  // Adapters that take turns, so that each call reads its own from memory: as many as rows, or one for all.
  void lora(sn_dtype dtype, const char *name, int64_t rows, int64_t in, int64_t out, int64_t rank, bool alike) {
    std::string operation = named("lora", dtype);
    std::string shape = std::string(name) + " " + std::to_string(rows) + "×" + std::to_string(out) + "×" +
                        std::to_string(in) + ", rank " + std::to_string(rank) +
                        (alike      ? ", one adapter"
                         : rows > 1 ? ", each its own"
                                    : "");
    if (!wanted(operation, shape)) return;
    int64_t size = sizeOf(dtype), used = alike ? 1 : rows, bytesUsed = used * rank * (in + out) * size;
    int64_t turns = 1 + (int64_t{256} << 20) / bytesUsed;
    sn_lora_shape s{rows, in, out, rank, turns * used, in, out, dtype};
    int64_t bytes = 0;
    check(sn_lora_workspace(device_, &s, &bytes));
    void *x = random(dtype, rows * in), *y = random(dtype, rows * out), *workspace = allocate(bytes);
    void *a = random(dtype, s.adapters * rank * in), *b = random(dtype, s.adapters * rank * out);
    auto *which = allocate<int32_t>(rows * 4);
    auto run = [=, this, turn = int64_t{0}]() mutable {
      int64_t first = turn++ % turns * used;
      for (int64_t row = 0; row < rows; ++row) which[row] = static_cast<int32_t>(first + (alike ? 0 : row));
      check(sn_lora(stream_, &s, which, x, a, b, y, workspace));
    };
    double operations = 2.0 * static_cast<double>(rows * rank * (in + out));
    Work work{rows <= 8 || !alike ? 0 : operations, static_cast<double>(bytesUsed), SN_F32};
    measure(operation, shape, work, run);
    releaseAll();
  }

  // ---- attention ---------------------------------------------------------------------------------------------------

  void attention(sn_dtype dtype) {
    int64_t w = m_.width, b = options_.batch, t = options_.length, h = m_.heads, d = w / h;
    std::string shape =
        "B " + std::to_string(b) + ", T " + std::to_string(t) + ", " + std::to_string(h) + "×" + std::to_string(d);
    sn_attention_shape s{};
    s.batch = b;
    s.queries = s.keys = t;
    s.heads = s.kv_heads = h;
    s.head_size = d;
    s.q_stride = s.k_stride = s.v_stride = 3 * w;
    s.out_stride = w;
    s.dtype = dtype;
    s.causal = 1;
    int64_t bytes = 0, size = sizeOf(dtype);
    check(sn_attention_backward_workspace(device_, &s, &bytes));
    auto *qkv = static_cast<char *>(random(dtype, rows_ * 3 * w));
    char *dqkv = allocate<char>(rows_ * 3 * w * size);
    void *out = allocate(rows_ * w * size), *dout = random(dtype, rows_ * w), *workspace = allocate(bytes);
    auto *lse = allocate<float>(b * h * t * 4);
    auto forward = [=, this] {
      check(sn_attention_forward(stream_, &s, qkv, qkv + w * size, qkv + 2 * w * size, out, lse));
    };
    auto backward = [=, this] {
      check(sn_attention_backward(stream_, &s, qkv, qkv + w * size, qkv + 2 * w * size, out, lse, dout, dqkv,
                                  dqkv + w * size, dqkv + 2 * w * size, workspace));
    };
    forward();
    // Two products of what the mask leaves, and five in the backward pass; in fp32 vectors, whatever the dtype.
    double half = static_cast<double>(b * h * d) * static_cast<double>(t * (t + 1));
    if (wanted(named("attention_forward", dtype), shape)) {
      measureVectors(named("attention_forward", dtype), shape, 2 * half, forward);
    }
    if (wanted(named("attention_backward", dtype), shape)) {
      measureVectors(named("attention_backward", dtype), shape, 5 * half, backward);
    }
    releaseAll();
    decodeAttention(dtype);
  }

  void measureVectors(const std::string &operation, const std::string &shape, double operations, const Run &run) {
    double seconds = medians({run})[0], rate = operations / seconds * 1e-9;
    std::printf("| %s | %s | %.1f | %.1f GFLOP/s | %.0f%% (of fp32 vectors) | | |\n", operation.c_str(), shape.c_str(),
                seconds * 1e6, rate, ceilings_.gflopsF32 > 0 ? 100 * rate / ceilings_.gflopsF32 : 0);
    std::fflush(stdout);
  }

  void decodeAttention(sn_dtype dtype) {
    int64_t w = m_.width, h = m_.heads, d = w / h, capacity = m_.context, filled = capacity - 1;
    sn_cache_shape s{};
    s.batch = 1;
    s.queries = 1;
    s.heads = s.kv_heads = h;
    s.head_size = d;
    s.capacity = capacity;
    s.q_stride = s.k_stride = s.v_stride = 3 * w;
    s.out_stride = w;
    s.dtype = dtype;
    auto *qkv = static_cast<char *>(random(dtype, 3 * w));
    int64_t size = sizeOf(dtype);
    auto *lengths = allocate<int32_t>(4);
    auto length = static_cast<int32_t>(filled);
    check(sn_write(stream_, lengths, &length, 4));
    // As many caches as make up what no cache of the CPU holds.
    std::vector<void *> keys, values;
    for (int64_t i = 0; i < 24; ++i) {
      keys.push_back(random(dtype, capacity * w));
      values.push_back(random(dtype, capacity * w));
    }
    int64_t bytes = 0;
    check(sn_attention_decode_workspace(device_, &s, &bytes));
    void *out = allocate(w * size), *workspace = allocate(bytes);
    std::string shape = "1 query, " + std::to_string(filled) + " keys";
    auto run = [=, this, turn = size_t{0}]() mutable {
      size_t i = turn++ % keys.size();
      check(sn_attention_decode(stream_, &s, lengths, qkv, nullptr, nullptr, keys[i], values[i], out, workspace));
    };
    if (wanted(named("attention_decode", dtype), shape)) {
      measure(named("attention_decode", dtype), shape, {0, static_cast<double>(2 * filled * w * size), dtype}, run);
    }
    auto append = [=, this] {
      check(sn_cache_append(stream_, &s, lengths, qkv + w * size, qkv + 2 * w * size, keys[0], values[0]));
    };
    if (wanted(named("cache_append", dtype), "1 token")) {
      measure(named("cache_append", dtype), "1 token", {0, static_cast<double>(4 * w * size), dtype}, append);
    }
    releaseAll();
  }

  // ---- attention over pages ----------------------------------------------------------------------------------------

  // Rows in fp32, as the engine has them. Sequences take turns, so that each call reads its pages from memory.
  void pagedAttention(sn_dtype pages) {
    constexpr int64_t kSequences = 32, kPageSize = 16, kMostRows = 512;
    int64_t w = m_.width, h = m_.heads, stride = m_.context / kPageSize;
    sn_paged_shape s{};
    s.sequences = kSequences;
    s.heads = s.kv_heads = h;
    s.head_size = w / h;
    s.pages = kSequences * stride;
    s.page_size = kPageSize;
    s.table_stride = stride;
    s.q_stride = s.k_stride = s.v_stride = 3 * w;
    s.out_stride = w;
    s.dtype = SN_F32;
    s.cache_dtype = pages;
    auto *qkv = static_cast<float *>(random(SN_F32, kMostRows * 3 * w));
    void *keys = random(pages, s.pages * kPageSize * w), *values = random(pages, s.pages * kPageSize * w);
    void *out = allocate(kMostRows * w * 4);
    std::vector<int32_t> numbers(static_cast<size_t>(s.pages));
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int32_t>(i * 7919 % numbers.size());
    auto *tables = allocate<int32_t>(s.pages * 4), *slots = allocate<int32_t>(kMostRows * 4),
         *positions = allocate<int32_t>(kMostRows * 4);
    check(sn_write(stream_, tables, numbers.data(), s.pages * 4));
    s.rows = kMostRows;
    int64_t bytes = 0, size = sizeOf(pages);
    check(sn_paged_attention_workspace(device_, &s, &bytes));
    void *workspace = allocate(bytes);
    std::string operation = std::string("paged_attention fp32, pages ") + (pages == SN_F32 ? "fp32" : "bf16");
    for (int64_t rows : {1, 8, 32}) {
      s.rows = rows;
      std::string shape = std::to_string(rows) + (rows == 1 ? " sequence" : " sequences") + ", each " +
                          std::to_string(m_.context) + " keys";
      if (!wanted(operation, shape)) continue;
      for (int64_t row = 0; row < rows; ++row) positions[row] = static_cast<int32_t>(m_.context - 1);
      double read = static_cast<double>(2 * rows * m_.context * w * size);
      measure(operation, shape, {0, read, pages}, [=, this, turn = int64_t{0}]() mutable {
        for (int64_t row = 0; row < rows; ++row) slots[row] = static_cast<int32_t>(turn++ % kSequences);
        check(sn_paged_attention(stream_, &s, slots, positions, tables, qkv, nullptr, nullptr, keys, values, out,
                                 workspace));
      });
    }
    int64_t rows = std::min(kMostRows, m_.context);
    s.rows = rows;
    for (int64_t row = 0; row < rows; ++row) {
      slots[row] = 0;
      positions[row] = static_cast<int32_t>(row);
    }
    std::string shape = "a prompt of " + std::to_string(rows);
    if (wanted(operation, shape)) {
      measureVectors(operation, shape, 2.0 * static_cast<double>(w) * static_cast<double>(rows * (rows + 1)),
                     [=, this] {
                       check(sn_paged_attention(stream_, &s, slots, positions, tables, qkv, nullptr, nullptr, keys,
                                                values, out, workspace));
                     });
    }
    if (wanted("paged_append fp32, pages " + std::string(pages == SN_F32 ? "fp32" : "bf16"), shape)) {
      measure("paged_append", shape, {0, static_cast<double>(2 * rows * w * (4 + size)), pages}, [=, this] {
        check(sn_paged_append(stream_, &s, slots, positions, tables, qkv + w, qkv + 2 * w, keys, values));
      });
    }
    releaseAll();
  }

  // ---- rows and elements -------------------------------------------------------------------------------------------

  void stream(const char *name, const std::string &shape, sn_dtype dtype, int64_t bytes, const Run &run) {
    if (wanted(named(name, dtype), shape)) {
      measure(named(name, dtype), shape, {0, static_cast<double>(bytes), dtype}, run);
    }
  }

  void rowsAndElements(sn_dtype dtype) {
    int64_t w = m_.width, r = rows_, size = sizeOf(dtype), wide = 4 * w;
    std::string narrow = std::to_string(r) + "×" + std::to_string(w);
    std::string broad = std::to_string(r) + "×" + std::to_string(wide);
    void *x = random(dtype, r * wide), *y = random(dtype, r * wide), *out = allocate(r * wide * size);
    void *gain = random(dtype, w), *bias = random(dtype, w);
    auto *mean = allocate<float>(r * 4), *rstd = allocate<float>(r * 4), *dgain = allocate<float>(w * 4),
         *dbias = allocate<float>(wide * 4);
    int64_t bytes = 0;
    check(sn_layer_norm_backward_workspace(device_, r, w, &bytes));
    void *workspace = allocate(bytes);

    auto norm = [=, this] {
      check(sn_layer_norm_forward(stream_, dtype, r, w, 1e-5f, x, y, gain, bias, y, out, mean, rstd));
    };
    norm();
    stream("layer_norm_forward", narrow, dtype, 4 * r * w * size, norm);
    stream("layer_norm_backward", narrow, dtype, 4 * r * w * size, [=, this] {
      check(sn_layer_norm_backward(stream_, dtype, r, w, x, gain, mean, rstd, y, y, 0, out, dgain, dbias, nullptr,
                                   workspace));
    });
    stream("bias_backward", broad, dtype, r * wide * size,
           [=, this] { check(sn_bias_backward(stream_, dtype, r, wide, wide, x, 0, dbias)); });
    stream("activation_forward", broad, dtype, 2 * r * wide * size,
           [=, this] { check(sn_activation_forward(stream_, SN_GELU_TANH, dtype, r * wide, x, out)); });
    stream("activation_backward", broad, dtype, 3 * r * wide * size,
           [=, this] { check(sn_activation_backward(stream_, SN_GELU_TANH, dtype, r * wide, x, y, out)); });
    stream("add", broad, dtype, 3 * r * wide * size, [=, this] { check(sn_add(stream_, dtype, r * wide, x, y, out)); });
    stream("dropout", narrow, dtype, 3 * r * w * size, [=, this] {
      check(sn_dropout(stream_, dtype, r * w, 0.1f, {1, 2, 3, nullptr}, x, y, out));
    });
    stream("scale_columns", broad, dtype, 2 * r * wide * size,
           [=, this] { check(sn_scale_columns(stream_, dtype, r, wide, 0.5f, x, y, out)); });
    stream("scale_columns_backward", broad, dtype, 2 * r * wide * size,
           [=, this] { check(sn_scale_columns_backward(stream_, dtype, r, wide, 0.5f, x, y, 0, dbias)); });
    int64_t quarter = (r + 3) / 4;
    auto *fourths = allocate<int32_t>(quarter * 4);
    for (int64_t i = 0; i < quarter; ++i) fourths[i] = static_cast<int32_t>(4 * i);
    std::string ofAll = std::to_string(quarter) + " of " + broad;
    stream("gather_forward", ofAll, dtype, 2 * quarter * wide * size,
           [=, this] { check(sn_gather_forward(stream_, dtype, r, wide, quarter, fourths, x, out)); });
    stream("gather_backward", ofAll, dtype, (r + quarter) * wide * size,
           [=, this] { check(sn_gather_backward(stream_, dtype, r, wide, quarter, fourths, y, out)); });
    auto *errors = allocate<float>(r * wide * 4);
    auto *wished = static_cast<float *>(random(SN_F32, r * wide));
    for (auto [error, name] : {std::pair{SN_SQUARED_ERROR, "element_loss squared"},
                               {SN_BINARY_CROSS_ENTROPY, "element_loss cross-entropy"}}) {
      stream(name, broad, dtype, r * wide * (2 * size + 8),
             [=, this] { check(sn_element_loss(stream_, error, dtype, r * wide, x, wished, nullptr, 1e-3f, errors)); });
    }
    sn_dtype other = dtype == SN_F32 ? SN_BF16 : SN_F32;
    void *cast = allocate(r * wide * sizeOf(other));
    stream("cast", broad, dtype, r * wide * 6, [=, this] { check(sn_cast(stream_, r * wide, dtype, x, other, cast)); });
    releaseAll();

    void *tokenTable = random(dtype, m_.vocabulary * w), *positionTable = random(dtype, m_.context * w);
    void *embedded = random(dtype, r * w);
    auto *dtokens = allocate<float>(m_.vocabulary * w * 4), *dpositions = allocate<float>(m_.context * w * 4);
    int32_t *ids = randomIds(r, m_.vocabulary);
    int64_t b = options_.batch, t = options_.length;
    check(sn_embedding_backward_workspace(device_, b, t, &bytes));
    void *places = allocate(bytes);
    stream("embedding_forward", narrow, dtype, 3 * r * w * size, [=, this] {
      check(sn_embedding_forward(stream_, dtype, b, t, w, m_.vocabulary, m_.context, 1, ids, nullptr, tokenTable,
                                 positionTable, embedded));
    });
    stream("embedding_backward", narrow, dtype, r * w * (2 * size + 8), [=, this] {
      check(sn_embedding_backward(stream_, dtype, b, t, w, m_.vocabulary, m_.context, 1, -1, ids, embedded, 0, dtokens,
                                  dpositions, places));
    });
    releaseAll();

    std::string classes = std::to_string(r) + "×" + std::to_string(m_.vocabulary);
    void *logits = random(dtype, r * m_.vocabulary);
    auto *losses = allocate<float>(r * 4);
    int32_t *targets = randomIds(r, m_.vocabulary);
    stream("cross_entropy with gradient", classes, dtype, 2 * r * m_.vocabulary * size, [=, this] {
      check(sn_cross_entropy(stream_, dtype, r, m_.vocabulary, m_.vocabulary, 0, logits, targets, nullptr, 1e-3f,
                             losses));
    });
    sn_sampling sampling{};
    sampling.seed = 1;
    sampling.repetition_penalty = 1;
    sampling.temperature = 0.8f;
    sampling.top_k = 40;
    sampling.top_p = 0.95f;
    auto *samplings = allocate<sn_sampling>(sizeof sampling);
    check(sn_write(stream_, samplings, &sampling, sizeof sampling));
    check(sn_sample_workspace(device_, 1, m_.vocabulary, &bytes));
    void *sampleWorkspace = allocate(bytes);
    auto *chosen = allocate<int32_t>(4);
    void *scores = random(dtype, m_.vocabulary);
    stream("sample top-k 40, top-p 0.95", "1×" + std::to_string(m_.vocabulary), dtype, m_.vocabulary * size, [=, this] {
      check(sn_sample(stream_, dtype, 1, m_.vocabulary, m_.vocabulary, scores, samplings, 0, 0, nullptr, chosen,
                      nullptr, sampleWorkspace));
    });
    releaseAll();
  }

  // ---- flat arrays -------------------------------------------------------------------------------------------------

  void flat() {
    int64_t count = m_.parameters;
    std::string shape = std::to_string(count) + " parameters";
    auto *gradient = static_cast<float *>(random(SN_F32, count));
    float *master = allocate<float>(count * 4), *m = allocate<float>(count * 4), *v = allocate<float>(count * 4);
    float *norm = allocate<float>(4);
    void *narrow = allocate(count * 2);
    int64_t bytes = 0;
    check(sn_reduce_workspace(device_, count, &bytes));
    void *workspace = allocate(bytes);
    stream("global_norm", shape, SN_F32, count * 4,
           [=, this] { check(sn_global_norm(stream_, count, gradient, norm, workspace)); });
    stream("sum", shape, SN_F32, count * 4,
           [=, this] { check(sn_sum(stream_, count, 1, gradient, 0, norm, workspace)); });
    sn_adamw_step step{1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, 1, 1, 1, nullptr, nullptr, nullptr};
    check(sn_global_norm(stream_, count, gradient, norm, workspace));
    stream("adamw", shape, SN_F32, count * 28,
           [=, this] { check(sn_adamw(stream_, &step, count, gradient, norm, nullptr, master, m, v, 0, nullptr)); });
    stream("adamw, rounded at random", shape, SN_BF16, count * 30,
           [=, this] { check(sn_adamw(stream_, &step, count, gradient, norm, nullptr, master, m, v, 1, narrow)); });
    stream("random_normal", shape, SN_F32, count * 4, [=, this] {
      check(sn_random_normal(stream_, count, 0, 0.02f, {1, 2, 3, nullptr}, master));
    });
    releaseAll();
  }

  Options options_;
  ModelShape m_{};
  int64_t rows_ = 0, tensors_ = 0;
  Ceilings ceilings_;
  sn_device *device_ = nullptr;
  sn_stream *stream_ = nullptr;
  std::vector<void *> memory_;
};

int64_t number(const std::string &name, const char *text) {
  char *end = nullptr;
  long long value = std::strtoll(text, &end, 10);
  if (*end != 0 || value < 1 || value > 1'000'000) throw std::invalid_argument(name + " " + text + "; 1 to 1000000");
  return value;
}

Options parse(int count, char **values) {
  Options options;
  for (int i = 1; i < count; i += 2) {
    std::string name = values[i];
    if (i + 1 == count) throw std::invalid_argument(name + " needs a value");
    const char *value = values[i + 1];
    if (name == "--model") {
      options.model = value;
      if (options.model != "gpt2" && options.model != "nano") throw std::invalid_argument("--model: gpt2 or nano");
    } else if (name == "--batch") {
      options.batch = number(name, value);
    } else if (name == "--length") {
      options.length = number(name, value);
    } else if (name == "--threads") {
      options.peers.threads = static_cast<int32_t>(number(name, value));
    } else if (name == "--isa") {
      options.isa = value;
    } else if (name == "--only") {
      options.only = value;
    } else if (name == "--blas") {
      options.peers.blas = value;
    } else if (name == "--onednn") {
      options.peers.onednn = value;
    } else if (name == "--commit") {
      options.commit = value;
    } else {
      throw std::invalid_argument(name + ": unknown");
    }
  }
  if (options.length > (options.model == "gpt2" ? 1024 : 64)) {
    throw std::invalid_argument("--length: longer than the model's context");
  }
  return options;
}

}  // namespace

}  // namespace sn::bench

int main(int count, char **values) {
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(values[i], "--help") == 0) {
      std::fputs(sn::bench::kUsage, stdout);
      return 0;
    }
  }
  try {
    sn::bench::Bench(sn::bench::parse(count, values)).run();
    return 0;
  } catch (const std::invalid_argument &wrong) {
    std::fprintf(stderr, "bench: %s\n%s", wrong.what(), sn::bench::kUsage);
    return 2;
  } catch (const std::exception &failure) {
    std::fprintf(stderr, "bench: %s\n", failure.what());
    return 1;
  }
}
