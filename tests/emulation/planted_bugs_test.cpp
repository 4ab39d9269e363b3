// Bugs that the emulation must find, each in the mode that is there for it; and the same kernels without them, in which
// no mode may find anything. SN_PLAIN, SN_ADDRESS and SN_THREAD are the program planted_bugs in its three builds.
#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace {

struct Outcome {
  int status;
  std::string output;
};

Outcome run(const std::string &program, const std::string &name, const std::string &version, int seed) {
  std::string command = "SN_EMULATION_SEED=" + std::to_string(seed) + " ";
  command.append(program).append(" ").append(name).append(" ").append(version).append(" 2>&1");
  std::FILE *pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome{0, ""};
  char part[4096];
  while (size_t bytes = std::fread(part, 1, sizeof part, pipe)) outcome.output.append(part, bytes);
  int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

// ThreadSanitizer does not know the address spaces that a kernel with much randomness lays out.
std::string threadSanitized() {
  std::ifstream file("/proc/sys/vm/mmap_rnd_bits");
  int bits = 0;
  file >> bits;
  return std::string(bits > 28 ? "setarch -R " : "") + SN_THREAD;
}

// In how many of so many runs the bug was found, with this text where one is given.
int found(const std::string &program, const std::string &name, int seeds, const std::string &text) {
  int count = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    Outcome outcome = run(program, name, "wrong", seed);
    CAPTURE(outcome.output);
    CHECK(outcome.status != 3);
    if (outcome.status != 0 && outcome.output.find(text) != std::string::npos) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("a result that is wrong in some order is found by random orders") {
  for (const char *name : {"missing-barrier", "missing-warp-barrier", "prefetch-above-barrier"}) {
    CAPTURE(name);
    CHECK(found(SN_PLAIN, name, 8, "") >= 4);
  }
}

TEST_CASE("what the tensor unit has not brought or still needs is found by random orders") {
  for (const char *name : {"missing-mbarrier-wait", "release-before-wait", "read-before-landing", "released-to-itself",
                           "exit-before-read", "read-before-prior-grid"}) {
    CAPTURE(name);
    CHECK(found(SN_PLAIN, name, 8, "") >= 3);
  }
}

TEST_CASE("a result that is wrong in every order is found in any") {
  for (const char *name : {"wait-off-by-one", "wrong-fragment", "wrong-parity", "swizzle-ignored",
                           "swizzle-of-half-the-row", "too-few-bytes"}) {
    CAPTURE(name);
    CHECK(found(SN_PLAIN, name, 4, "") == 4);
  }
}

TEST_CASE("misuse is reported") {
  CHECK(found(SN_PLAIN, "divergent-barrier", 4, "__syncthreads") == 4);
  CHECK(found(SN_PLAIN, "mbarrier-deadlock", 4, "wait at an mbarrier whose phase lacks 0 arrivals and 8192 bytes") ==
        4);
  CHECK(found(SN_PLAIN, "released-to-one", 4, "wait at an mbarrier whose phase lacks") == 4);
  CHECK(found(SN_PLAIN, "copies-in-flight", 1, "copies in flight") == 1);
  CHECK(found(SN_PLAIN, "exit-before-read", 8, "block 1 of the cluster has exited") >= 3);
  CHECK(found(SN_PLAIN, "never-waits-for-prior-grid", 4, "no thread has called waitForPriorGrid") == 4);
}

TEST_CASE("a missing fence is reported") {
  const char *unseen = "shared memory that threads have written to since the last fenceAsyncProxy";
  CHECK(found(SN_PLAIN, "stored-without-fence", 4, unseen) == 4);
  CHECK(found(SN_PLAIN, "fenced-too-early", 4, unseen) == 4);
  CHECK(found(SN_PLAIN, "multiplied-without-fence", 4, unseen) == 4);
  CHECK(found(SN_PLAIN, "missing-warpgroup-fence", 4, "no fenceWarpgroup") == 4);
  CHECK(found(SN_PLAIN, "touched-in-flight", 4, "written to while a product was in flight") == 4);
}

TEST_CASE("sanitizers find what is outside of shared and of global memory") {
  CHECK(found(SN_ADDRESS, "shared-overrun", 1, "AddressSanitizer: heap-buffer-overflow") == 1);
  CHECK(found(SN_ADDRESS, "global-overrun", 1, "AddressSanitizer: heap-buffer-overflow") == 1);
  CHECK(found(SN_ADDRESS, "static-overrun", 1, "index 128 out of bounds") == 1);
}

TEST_CASE("ThreadSanitizer finds missing barriers in any order") {
  for (const char *name : {"missing-barrier", "missing-warp-barrier", "prefetch-above-barrier"}) {
    CAPTURE(name);
    CHECK(found(threadSanitized(), name, 2, "ThreadSanitizer: data race") == 2);
  }
}

TEST_CASE("kernels without bugs pass in all modes") {
  for (const char *name :
       {"missing-barrier", "missing-warp-barrier", "wait-off-by-one", "wrong-fragment", "shared-overrun",
        "static-overrun", "global-overrun", "divergent-barrier", "missing-mbarrier-wait", "stored-without-fence",
        "fenced-too-early", "multiplied-without-fence", "swizzle-ignored", "read-before-landing", "released-to-one",
        "exit-before-read", "read-before-prior-grid"}) {
    for (const std::string &program : {std::string(SN_PLAIN), std::string(SN_ADDRESS), threadSanitized()}) {
      for (int seed : {0, 1}) {
        CAPTURE(program);
        CAPTURE(name);
        CAPTURE(seed);
        Outcome outcome = run(program, name, "right", seed);
        CAPTURE(outcome.output);
        CHECK(outcome.status == 0);
      }
    }
  }
}
