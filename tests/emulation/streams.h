// streams.h: streams, events, captures and graphs.
//
// A stream is a queue of work. In order, work runs as it comes. Deferred, it waits until something needs its result, or
// chance lets it run: so host code that forgets to synchronise reads what is not there yet.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "emulation/errors.h"
#include "emulation/options.h"
#include "emulation/random.h"

enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal = 0,
  cudaStreamCaptureModeThreadLocal = 1,
  cudaStreamCaptureModeRelaxed = 2
};

struct CUstream_st;

namespace sn::emulation {

struct Capture;

// A stream up to its work of this number.
struct Mark {
  std::shared_ptr<CUstream_st> stream;
  uint64_t number = 0;
};

struct Work {
  const char *what;
  // Returns why it failed; empty if it did not.
  std::function<std::string()> run;
  std::vector<Mark> after;
  bool isKernel = false;
  // Of a kernel that may overlap the one before it: what it does before it waits for that one.
  std::function<void()> begin = nullptr;
};

struct Node {
  const char *what;
  const void *kernel;
  std::function<std::string()> run;
  std::vector<size_t> after;
};

}  // namespace sn::emulation

// What CUDA's handles point to has CUDA's names, outside of any namespace: were it the emulator's, a call with such an
// argument would find the emulator's functions too (argument-dependent lookup).

struct CUstream_st {
  bool blocking = true;
  std::deque<sn::emulation::Work> queue;
  uint64_t issued = 0;
  uint64_t completed = 0;
  // While it is captured: into what, and the nodes that its next one comes after.
  std::shared_ptr<sn::emulation::Capture> capture;
  std::vector<size_t> tail;

  bool idle() const { return completed == issued; }
};

struct CUevent_st {
  struct Completion {
    bool done = false;
    std::chrono::steady_clock::time_point time;
  };

  bool timed = true;
  sn::emulation::Mark mark;
  std::shared_ptr<Completion> completion;
  std::shared_ptr<sn::emulation::Capture> capture;
  std::vector<size_t> tail;
};

struct CUgraph_st {
  std::vector<sn::emulation::Node> nodes;
};

struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
};

using cudaStream_t = CUstream_st *;
using cudaEvent_t = CUevent_st *;
using cudaGraph_t = CUgraph_st *;
using cudaGraphExec_t = CUgraphExec_st *;

namespace sn::emulation {

using Stream = CUstream_st;
using Event = CUevent_st;
using Graph = CUgraph_st;
using ExecutableGraph = CUgraphExec_st;

struct Capture {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread = std::this_thread::get_id();
  std::shared_ptr<Stream> origin;
  std::vector<std::shared_ptr<Stream>> streams;
  Graph graph;
  bool valid = true;

  // Whether all nodes come before the next one of the stream that the capture began in.
  bool joined() const {
    std::vector<char> reached(graph.nodes.size(), 0);
    std::vector<size_t> open = origin->tail;
    while (!open.empty()) {
      size_t node = open.back();
      open.pop_back();
      if (reached[node] != 0) continue;
      reached[node] = 1;
      const auto &after = graph.nodes[node].after;
      open.insert(open.end(), after.begin(), after.end());
    }
    for (char node : reached) {
      if (node == 0) return false;
    }
    return true;
  }

  void end() {
    for (auto &stream : streams) {
      stream->capture.reset();
      stream->tail.clear();
    }
  }
};

// Runs the nodes in the order of their capture, or in any other that their dependencies allow.
inline std::string runGraph(const Graph &graph, Random *choices) {
  std::vector<size_t> waiting(graph.nodes.size());
  std::vector<char> done(graph.nodes.size(), 0);
  for (size_t i = 0; i < waiting.size(); ++i) waiting[i] = i;
  while (!waiting.empty()) {
    std::vector<size_t> ready;
    for (size_t i = 0; i < waiting.size(); ++i) {
      bool free = true;
      for (size_t before : graph.nodes[waiting[i]].after) free = free && done[before] != 0;
      if (free) ready.push_back(i);
      if (free && choices == nullptr) break;
    }
    size_t taken = ready[choices == nullptr ? 0 : choices->below(ready.size())];
    size_t node = waiting[taken];
    std::string failure = graph.nodes[node].run();
    if (!failure.empty()) return failure;
    done[node] = 1;
    waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  return {};
}

}  // namespace sn::emulation
