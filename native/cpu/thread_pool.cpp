#include "cpu/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <chrono>

namespace sn::cpu {

namespace {

constexpr int64_t kPartBits = 32;
constexpr uint64_t kPartMask = (uint64_t{1} << kPartBits) - 1;

// The part after the last of a share.
int64_t endOf(int32_t share, int64_t parts, int32_t threads) { return parts * (share + 1) / threads; }

// How long an idle worker watches for the next operation before it sleeps: longer than the gap between two operations
// of a step, shorter than anything a user would call busy.
constexpr auto kSpin = std::chrono::microseconds(100);

// How often the caller looks for the last parts' end before it offers its core to others.
constexpr int32_t kPatience = 2000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int32_t threads) : threads_(threads), shares_(static_cast<size_t>(threads)) {
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int32_t worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
  } catch (...) {  // the system has no more threads: those that run must end before this object does
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard lock(sleep_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto &worker : workers_) worker.join();
}

void ThreadPool::run(int64_t parts, Body body, void *context) {
  std::lock_guard one(caller_);
  if (threads_ == 1 || parts == 1) {
    for (int64_t part = 0; part < parts; ++part) body(context, part, 0);
    return;
  }
  body_.store(body, std::memory_order_relaxed);
  context_.store(context, std::memory_order_relaxed);
  parts_.store(parts, std::memory_order_relaxed);
  unfinished_.store(parts, std::memory_order_relaxed);
  uint32_t generation = generation_.load(std::memory_order_relaxed) + 1;
  for (int32_t share = 0; share < threads_; ++share) {
    int64_t count = endOf(share, parts, threads_) - endOf(share - 1, parts, threads_);
    shares_[static_cast<size_t>(share)].ticket.store(uint64_t{generation} << kPartBits | static_cast<uint64_t>(count),
                                                     std::memory_order_release);
  }
  generation_.store(generation, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(sleep_); }
    wake_.notify_all();
  }
  takeParts(generation, 0);
  for (int32_t turn = 0; unfinished_.load(std::memory_order_acquire) > 0; ++turn) {
    // Where threads outnumber cores, the one that is waited for may need this core.
    if (turn < kPatience) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::takeParts(uint32_t generation, int32_t worker) {
  for (int32_t i = 0; i < threads_; ++i) takeShare(generation, (worker + i) % threads_, worker);
}

void ThreadPool::takeShare(uint32_t generation, int32_t share, int32_t worker) {
  std::atomic<uint64_t> &ticket = shares_[static_cast<size_t>(share)].ticket;
  uint64_t seen = ticket.load(std::memory_order_acquire);
  while (seen >> kPartBits == generation && (seen & kPartMask) != 0) {
    if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    // Holding a part keeps the job alive: nothing of it changes before unfinished_ reaches zero.
    int64_t end = endOf(share, parts_.load(std::memory_order_relaxed), threads_);
    int64_t part = end - static_cast<int64_t>(seen & kPartMask);
    body_.load(std::memory_order_relaxed)(context_.load(std::memory_order_relaxed), part, worker);
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    seen = ticket.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int32_t worker) {
  uint32_t seen = 0;
  for (;;) {
    auto deadline = std::chrono::steady_clock::now() + kSpin;
    int32_t turns = 0;
    while (generation_.load(std::memory_order_acquire) == seen && !stop_) {
      pause();
      if (++turns % 64 != 0 || std::chrono::steady_clock::now() < deadline) continue;
      std::unique_lock lock(sleep_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != seen || stop_; });
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (stop_) return;
    seen = generation_.load(std::memory_order_acquire);
    takeParts(seen, worker);
  }
}

}  // namespace sn::cpu
