// Recordings: replays do what direct calls would, and what a recording forbids leaves the stream usable.
#include "testing.h"

using namespace sn::testing;

namespace {

constexpr int64_t kCount = 1003;

// Device memory of its own for one number.
class Clock {
 public:
  explicit Clock(const Machine &on) : device_(on.device), stream_(on.stream) {
    REQUIRE(sn_allocate(device_, sizeof(int64_t), &memory_) == SN_OK);
  }
  ~Clock() { sn_free(device_, memory_); }
  Clock(const Clock &) = delete;
  Clock &operator=(const Clock &) = delete;

  void set(int64_t value) const { REQUIRE(sn_write(stream_, memory_, &value, sizeof value) == SN_OK); }
  const int64_t *address() const { return static_cast<const int64_t *>(memory_); }

 private:
  sn_device *device_;
  sn_stream *stream_;
  void *memory_ = nullptr;
};

class Recording {
 public:
  // Records what f() calls.
  template <typename F>
  Recording(const Machine &on, F &&f) : stream_(on.stream) {
    REQUIRE(sn_capture_begin(stream_) == SN_OK);
    f();
    REQUIRE_MESSAGE(sn_capture_end(stream_, &recording_) == SN_OK, sn_last_error());
  }
  ~Recording() {
    sn_synchronize(stream_);
    sn_recording_destroy(recording_);
  }
  Recording(const Recording &) = delete;
  Recording &operator=(const Recording &) = delete;

  int64_t kernels() const {
    int64_t count = -1;
    REQUIRE(sn_recording_kernels(recording_, &count) == SN_OK);
    return count;
  }

  void replay() const { REQUIRE(sn_replay(stream_, recording_) == SN_OK); }

 private:
  sn_stream *stream_;
  sn_recording *recording_ = nullptr;
};

// Calls f for a GPU; a CPU records nothing, and says so.
template <typename F>
void onGpus(F &&f) {
  everywhere([&](Machine &on) {
    if (on.isCuda()) return f(on);
    CHECK(sn_capture_begin(on.stream) == SN_UNSUPPORTED);
    CHECK(std::string(sn_last_error()) == "capture_begin: a CPU makes no recordings");
  });
}

bool untouched(const Tensor &tensor) {
  for (size_t i = 0; i < tensor.size(); ++i) {
    if (!std::isnan(tensor[i])) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a recording runs at its replays alone, and draws by the clock as direct calls with those steps do") {
  onGpus([](Machine &on) {
    Tensor a(SN_F32, Numbers(1).normal(kCount)), b(SN_F32, Numbers(2).normal(kCount));
    Tensor sum(SN_F32, kCount), dropped(SN_F32, kCount), expectedSum(SN_F32, kCount), expected(SN_F32, kCount);
    Clock clock(on);
    clock.set(0);
    const sn_random_key key{9, 7, 3, clock.address()};
    Recording recording(on, [&] {
      REQUIRE(sn_add(on.stream, SN_F32, kCount, a, b, sum) == SN_OK);
      REQUIRE(sn_dropout(on.stream, SN_F32, kCount, 0.5f, key, sum, a, dropped) == SN_OK);
    });
    REQUIRE(sn_synchronize(on.stream) == SN_OK);
    CHECK(untouched(sum));
    CHECK(untouched(dropped));
    std::vector<Bytes> seen;
    for (int64_t now : {4, 11, 4}) {
      clock.set(now);
      recording.replay();
      REQUIRE(sn_add(on.stream, SN_F32, kCount, a, b, expectedSum) == SN_OK);
      const sn_random_key direct{key.seed, key.step + now, key.tensor, nullptr};
      REQUIRE(sn_dropout(on.stream, SN_F32, kCount, 0.5f, direct, expectedSum, a, expected) == SN_OK);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      CHECK(sum.bytes() == expectedSum.bytes());
      CHECK(dropped.bytes() == expected.bytes());
      seen.push_back(dropped.bytes());
    }
    CHECK(seen[0] != seen[1]);
    CHECK(seen[0] == seen[2]);
  });
}

TEST_CASE("operations with workspaces replay to the bits of direct calls, again and again") {
  onGpus([](Machine &on) {
    const int64_t rows = 5, width = 300, vocabulary = 40;
    struct State {
      Tensor table, gradient, words, norm, out, losses, master, m, v;
      Ints tokens;
      Bytes sums, places;
    };
    auto start = [&] {
      int64_t bytes = 0;
      REQUIRE(sn_embedding_backward_workspace(on.device, 1, rows, &bytes) == SN_OK);
      return State{Tensor(SN_F32, Numbers(1).normal(vocabulary * width)),
                   Tensor(SN_F32, std::vector<double>(static_cast<size_t>(vocabulary * width))),
                   Tensor(SN_F32, rows * width),
                   Tensor(SN_F32, 1),
                   Tensor(SN_F32, rows * width),
                   Tensor(SN_F32, rows),
                   Tensor(SN_F32, Numbers(2).normal(vocabulary * width)),
                   Tensor(SN_F32, std::vector<double>(static_cast<size_t>(vocabulary * width))),
                   Tensor(SN_F32, std::vector<double>(static_cast<size_t>(vocabulary * width))),
                   Ints{3, 39, 3, 0, 7},
                   reduceWorkspace(on.device, vocabulary * width),
                   Bytes(static_cast<size_t>(bytes))};
    };
    auto call = [&](State &s) {
      const int64_t count = vocabulary * width;
      const sn_adamw_step step{1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 1.0f, 1, 99, nullptr, nullptr, nullptr};
      REQUIRE(sn_embedding_forward(on.stream, SN_F32, 1, rows, width, vocabulary, 0, 1, s.tokens.data(), nullptr,
                                   s.table, nullptr, s.words) == SN_OK);
      REQUIRE(sn_layer_norm_forward(on.stream, SN_F32, rows, width, 1e-5f, s.words, nullptr, s.master, nullptr, nullptr,
                                    s.out, nullptr, nullptr) == SN_OK);
      REQUIRE(sn_cross_entropy(on.stream, SN_F32, rows, width, width, 0, s.out, s.tokens.data(), nullptr, 1,
                               s.losses.floats()) == SN_OK);
      REQUIRE(sn_embedding_backward(on.stream, SN_F32, 1, rows, width, vocabulary, 0, 1, -1, s.tokens.data(), s.out, 0,
                                    s.gradient.floats(), nullptr, s.places.data()) == SN_OK);
      REQUIRE(sn_global_norm(on.stream, count, s.gradient.floats(), s.norm.floats(), s.sums.data()) == SN_OK);
      REQUIRE(sn_adamw(on.stream, &step, count, s.gradient.floats(), s.norm.floats(), nullptr, s.master.floats(),
                       s.m.floats(), s.v.floats(), 0, nullptr) == SN_OK);
      REQUIRE(sn_zero(on.stream, s.gradient, count * 4) == SN_OK);
    };
    State recorded = start(), direct = start();
    Recording recording(on, [&] { call(recorded); });
    for (int turn = 0; turn < 3; ++turn) {
      recording.replay();
      call(direct);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      CHECK(recorded.losses.bytes() == direct.losses.bytes());
      CHECK(recorded.norm.bytes() == direct.norm.bytes());
      CHECK(recorded.master.bytes() == direct.master.bytes());
    }
  });
}

TEST_CASE("a recording knows how many kernels it launches; a norm in front of a product is none of its own") {
  onGpus([](Machine &on) {
    const int64_t in = 64, out = 32;
    Tensor x(SN_F32, Numbers(1).normal(in)), gain(SN_F32, Numbers(2).normal(in)),
        b(SN_F32, Numbers(3).normal(in * out));
    Tensor normed(SN_F32, in), y(SN_F32, out);
    const sn_gemm_shape shape{
        1, 1, out, in, 0, 0, in, out, out, 0, 0, 0, SN_F32, SN_F32, SN_EPILOGUE_NONE, SN_GELU_TANH, 0, 0};
    const sn_row_norm norm{gain, nullptr, normed, 1e-5f};
    for (int64_t calls : {1, 3}) {
      Recording recording(on, [&] {
        REQUIRE(sn_write(on.stream, x, x, 4) == SN_OK);
        for (int64_t i = 0; i < calls; ++i) {
          REQUIRE(sn_gemm(on.stream, &shape, &norm, x, b, y, nullptr, nullptr, nullptr) == SN_OK);
        }
      });
      CHECK(recording.kernels() == calls);
    }
    int64_t count = 0;
    CHECK(sn_recording_kernels(nullptr, &count) == SN_BAD_ARGUMENT);
  });
}

TEST_CASE("copies in a recording: a read waits for nothing, a write takes what the host has at the replay") {
  onGpus([](Machine &on) {
    Bytes input(99, 1), output(99, 0);
    void *memory = nullptr;
    REQUIRE(sn_allocate(on.device, 99, &memory) == SN_OK);
    {
      Recording recording(on, [&] {
        REQUIRE(sn_write(on.stream, memory, input.data(), 99) == SN_OK);
        REQUIRE(sn_read(on.stream, memory, output.data(), 99) == SN_OK);
      });
      CHECK(output == Bytes(99, 0));
      for (auto value : Bytes{5, 6}) {
        input.assign(99, value);
        recording.replay();
        REQUIRE(sn_synchronize(on.stream) == SN_OK);
        CHECK(output == Bytes(99, value));
      }
    }
    sn_free(on.device, memory);
  });
}

TEST_CASE("a fault in a replay is reported by the next synchronisation, once") {
  onGpus([](Machine &on) {
    Tensor table(SN_F32, Numbers(1).normal(12)), out(SN_F32, 6);
    Ints tokens{1, 4};
    Recording recording(on, [&] {
      REQUIRE(sn_embedding_forward(on.stream, SN_F32, 1, 2, 3, 4, 0, 1, tokens.data(), nullptr, table, nullptr, out) ==
              SN_OK);
    });
    recording.replay();
    CHECK(sn_synchronize(on.stream) == SN_BAD_ARGUMENT);
    CHECK(std::string(sn_last_error()) == "embedding_forward: token 4 at place 1; 4 tokens are known");
    tokens[1] = 0;
    recording.replay();
    CHECK(sn_synchronize(on.stream) == SN_OK);
    CHECK(out[3] == table[0]);
  });
}

TEST_CASE("what a recording forbids fails, gives no recording, and leaves the stream as it was") {
  onGpus([](Machine &on) {
    Tensor a(SN_F32, Numbers(1).normal(kCount)), sum(SN_F32, kCount);
    auto add = [&] { return sn_add(on.stream, SN_F32, kCount, a, a, sum); };
    auto twice = a.values();
    for (double &value : twice) value *= 2;
    sn_recording *none = nullptr;
    void *memory = nullptr;
    for (int forbidden = 0; forbidden < 3; ++forbidden) {
      CAPTURE(forbidden);
      REQUIRE(sn_capture_begin(on.stream) == SN_OK);
      REQUIRE(add() == SN_OK);
      if (forbidden == 0) {
        CHECK(sn_synchronize(on.stream) == SN_FAILED);
        CHECK(std::string(sn_last_error()) == "synchronize: operation not permitted when stream is capturing");
      } else if (forbidden == 1) {
        CHECK(sn_allocate(on.device, 16, &memory) == SN_FAILED);
      } else {
        CHECK(sn_capture_begin(on.stream) == SN_FAILED);
        CHECK(sn_synchronize(on.stream) == SN_FAILED);
      }
      CHECK(sn_capture_end(on.stream, &none) == SN_FAILED);
      CHECK(none == nullptr);
      CHECK(memory == nullptr);

      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      CHECK(untouched(sum));
      REQUIRE(add() == SN_OK);
      REQUIRE(sn_synchronize(on.stream) == SN_OK);
      checkClose(sum, twice, 0, 0);
      sum = Tensor(SN_F32, kCount);
      {
        Recording recording(on, [&] { REQUIRE(add() == SN_OK); });
        recording.replay();
        REQUIRE(sn_synchronize(on.stream) == SN_OK);
      }
      checkClose(sum, twice, 0, 0);
      sum = Tensor(SN_F32, kCount);
    }
    CHECK(sn_capture_end(on.stream, &none) == SN_FAILED);
    CHECK(add() == SN_OK);
    CHECK(sn_synchronize(on.stream) == SN_OK);
  });
}
