// thread_pool.h: the CPU backend's stream: persistent threads that share out the parts of one operation at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace sn::cpu {

class ThreadPool {
 public:
  // What runs one part: parts are numbered 0 .. count - 1, workers 0 .. threads - 1.
  using Body = void (*)(void *context, int64_t part, int32_t worker);

  explicit ThreadPool(int32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  int32_t threads() const { return threads_; }

  // Runs body for every part and returns when all are done. The calling thread works too. Each worker takes its own
  // share of consecutive parts first, so that what one operation left in a core's cache the next finds there, and then
  // helps the others: who takes a part is left to chance, and its result must not depend on it. Calls from several
  // threads wait for one another.
  void run(int64_t parts, Body body, void *context);

 private:
  void work(int32_t worker);
  void takeParts(uint32_t generation, int32_t worker);
  void takeShare(uint32_t generation, int32_t share, int32_t worker);
  void stop();

  const int32_t threads_;
  std::vector<std::thread> workers_;
  std::mutex caller_;

  // A worker's share of a job: the generation and the number of its parts that nobody has taken, in one word. A worker
  // that comes late finds no part left or another generation, and cannot take a part of the wrong job.
  struct alignas(64) Share {
    std::atomic<uint64_t> ticket{0};
  };

  // A job is published by raising generation_.
  std::vector<Share> shares_;
  std::atomic<int64_t> unfinished_{0};
  std::atomic<uint32_t> generation_{0};

  // The job. Written before the tickets and stable while a part of it is unfinished.
  std::atomic<int64_t> parts_{0};
  std::atomic<Body> body_{nullptr};
  std::atomic<void *> context_{nullptr};

  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<int32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
};

// Runs f(part, worker) for every part.
template <typename F>
void parallel(ThreadPool &pool, int64_t parts, F &&f) {
  if (parts <= 0) return;
  using Function = std::remove_reference_t<F>;
  pool.run(
      parts, [](void *context, int64_t part, int32_t worker) { (*static_cast<Function *>(context))(part, worker); },
      const_cast<void *>(static_cast<const void *>(&f)));
}

// Splits `count` elements into ranges of at least `grain` and runs f(begin, end) on each. The split depends on count
// and grain alone.
template <typename F>
void parallelRange(ThreadPool &pool, int64_t count, int64_t grain, F &&f) {
  if (count <= 0) return;
  int64_t parts = (count + grain - 1) / grain;
  parallel(pool, parts, [&](int64_t part, int32_t) {
    int64_t begin = part * grain;
    f(begin, begin + grain < count ? begin + grain : count);
  });
}

}  // namespace sn::cpu
