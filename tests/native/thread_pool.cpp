#include "cpu/thread_pool.h"

#include <doctest/doctest.h>

#include <vector>

using sn::cpu::parallel;
using sn::cpu::parallelRange;
using sn::cpu::ThreadPool;

TEST_CASE("every part runs exactly once, however many parts and threads there are") {
  for (int32_t threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int64_t parts : {0, 1, 2, 3, 7, 64, 1000}) {
      CAPTURE(threads);
      CAPTURE(parts);
      std::vector<std::atomic<int32_t>> runs(static_cast<size_t>(parts));
      std::atomic<bool> knownWorker{true};
      parallel(pool, parts, [&](int64_t part, int32_t worker) {
        runs[static_cast<size_t>(part)].fetch_add(1);
        if (worker < 0 || worker >= threads) knownWorker = false;
      });
      CHECK(knownWorker);
      for (auto &count : runs) CHECK(count == 1);
    }
  }
}

// A worker that is late with one job must not take a part of the next one: jobs follow one another at once here, and
// large ones follow small ones, so that a stale part number would be a valid one.
TEST_CASE("a job that follows another at once is neither run twice nor left before its end") {
  ThreadPool pool(4);
  constexpr int64_t kMostParts = 40;
  std::vector<std::atomic<int32_t>> runs(kMostParts);
  int64_t wrong = 0;
  for (int64_t job = 0; job < 100000; ++job) {
    int64_t parts = job % 2 == 0 ? 2 : kMostParts;
    for (auto &count : runs) count.store(0, std::memory_order_relaxed);
    parallel(pool, parts,
             [&](int64_t part, int32_t) { runs[static_cast<size_t>(part)].fetch_add(1, std::memory_order_relaxed); });
    for (int64_t part = 0; part < kMostParts; ++part) {
      int32_t expected = part < parts ? 1 : 0;
      if (runs[static_cast<size_t>(part)].load(std::memory_order_relaxed) != expected) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a job after a pause wakes workers that sleep") {
  ThreadPool pool(3);
  for (int job = 0; job < 20; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    int64_t sum = 0;
    std::vector<int64_t> squares(100);
    parallel(pool, 100, [&](int64_t part, int32_t) { squares[static_cast<size_t>(part)] = part * part; });
    for (int64_t square : squares) sum += square;
    CHECK(sum == 328350);
  }
}

TEST_CASE("callers from several threads wait for one another") {
  ThreadPool pool(2);
  int64_t counted = 0;  // not atomic: two jobs at once would lose counts
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int job = 0; job < 1000; ++job) {
        parallel(pool, 1, [&](int64_t, int32_t) { ++counted; });
      }
    });
  }
  for (auto &caller : callers) caller.join();
  CHECK(counted == 3000);
}

TEST_CASE("a range is covered without gaps, and its split does not depend on the threads") {
  for (int64_t count : {1, 9, 10, 11, 99}) {
    std::vector<std::vector<int32_t>> starts;
    for (int32_t threads : {1, 4}) {
      ThreadPool pool(threads);
      std::vector<int32_t> touched(static_cast<size_t>(count)), begins(static_cast<size_t>(count));
      parallelRange(pool, count, 10, [&](int64_t begin, int64_t end) {
        begins[static_cast<size_t>(begin)] = 1;
        for (int64_t i = begin; i < end; ++i) ++touched[static_cast<size_t>(i)];
      });
      CHECK(touched == std::vector<int32_t>(static_cast<size_t>(count), 1));
      starts.push_back(begins);
    }
    CHECK(starts[0] == starts[1]);
  }
}
