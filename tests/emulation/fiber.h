// fiber.h: a stack of its own for each CUDA thread, and the switch from one stack to another.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "emulation/sanitizers.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace sn::emulation {

// Something that can be left and entered again: a fiber, or the scheduler on its thread's own stack.
struct Context {
#if defined(__x86_64__)
  void *stackPointer = nullptr;
#else
  ucontext_t registers;
#endif
  // The sanitizers' view of it.
  const void *bottom = nullptr;
  size_t size = 0;
  void *fakeStack = nullptr;
  void *tsanFiber = nullptr;
};

#if defined(__x86_64__)
// Saves the registers that a function keeps, changes the stack, and returns to where the other one was left: by a jump,
// as a processor expects a return to go where the last call was.
[[gnu::naked, gnu::noinline, gnu::no_sanitize("thread"), gnu::no_sanitize("address")]] inline void switchStack(void **,
                                                                                                               void *) {
  asm("push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
      "mov %rsp, (%rdi)\n"
      "mov %rsi, %rsp\n"
      "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
      "pop %rcx\n"
      "jmp *%rcx");
}
#endif

// Returns when something switches back; never, if `from` is finished.
SN_UNINSTRUMENTED inline void switchContext(Context &from, Context &to, [[maybe_unused]] bool finished = false) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(finished ? nullptr : &from.fakeStack, to.bottom, to.size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsanFiber, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
  switchStack(&from.stackPointer, to.stackPointer);
#else
  swapcontext(&from.registers, &to.registers);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
#endif
}

// The first thing that a fiber does. Also tells where the stack is that it was entered from.
inline void entered([[maybe_unused]] Context &from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.size);
#endif
}

// Releases to the edge for a fiber that will never do it itself.
SN_UNINSTRUMENTED inline void releaseFor([[maybe_unused]] const Context &fiber, [[maybe_unused]] const Context &self,
                                         [[maybe_unused]] void *edge) {
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(fiber.tsanFiber, __tsan_switch_to_fiber_no_sync);
  __tsan_release(edge);
  __tsan_switch_to_fiber(self.tsanFiber, __tsan_switch_to_fiber_no_sync);
#endif
}

// The stacks of one block's threads. They are used again by later blocks: to map one costs more than to run a thread.
class Stacks {
 public:
  Stacks() = default;
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;

  ~Stacks() {
    for (Stack &stack : stacks_) {
      munmap(stack.bottom, kBytes);
#if defined(__SANITIZE_THREAD__)
      // To ThreadSanitizer those of a failed block are still in the middle of something, and it would complain.
      if (!abandoned_) __tsan_destroy_fiber(stack.tsanFiber);
#endif
    }
  }

  // Makes `context` start `entry` on the stack of this number.
  void prepare(size_t number, Context &context, void (*entry)()) {
    while (stacks_.size() <= number) stacks_.push_back(map());
    Stack &stack = stacks_[number];
    context = Context();
    context.bottom = stack.bottom;
    context.size = kBytes;
    context.tsanFiber = stack.tsanFiber;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(stack.bottom, kBytes);
#endif
#if defined(__x86_64__)
    // As if it had called switchStack: six registers, where to return to, and no caller. At `entry` the stack must be
    // 8 bytes off 16, as after a call.
    auto **top = reinterpret_cast<void **>(stack.bottom + kBytes - number * kColor % kColors) - 8;
    std::memset(top, 0, 6 * sizeof(void *));
    top[6] = reinterpret_cast<void *>(entry);
    top[7] = nullptr;
    context.stackPointer = top;
#else
    getcontext(&context.registers);
    context.registers.uc_stack.ss_sp = stack.bottom;
    context.registers.uc_stack.ss_size = kBytes;
    context.registers.uc_link = nullptr;
    makecontext(&context.registers, entry, 0);
#endif
  }

  // The threads on these stacks will not come to their ends.
  void abandon() { abandoned_ = true; }

  // Takes stacks that no block uses, and gives them back, unless they are abandoned.
  static std::unique_ptr<Stacks> take() {
    Unused &unused = Unused::all();
    std::lock_guard lock(unused.mutex);
    if (unused.stacks.empty()) return std::make_unique<Stacks>();
    auto taken = std::move(unused.stacks.back());
    unused.stacks.pop_back();
    return taken;
  }

  static void giveBack(std::unique_ptr<Stacks> stacks) {
    Unused &unused = Unused::all();
    std::lock_guard lock(unused.mutex);
    unused.stacks.push_back(std::move(stacks));
  }

 private:
  static constexpr size_t kBytes = size_t{256} << 10;
  // Stacks begin at different places of their pages: else what all threads use most would share a few sets of a cache.
  static constexpr size_t kColor = 17 * 64, kColors = size_t{64} << 10;
  static_assert(kColor % 16 == 0);

  struct Stack {
    char *bottom;
    void *tsanFiber;
  };

  struct Unused {
    std::mutex mutex;
    std::vector<std::unique_ptr<Stacks>> stacks;

    static Unused &all() {
      static Unused unused;
      return unused;
    }
  };

  static Stack map() {
    void *memory =
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    // Who overruns the stack gets a fault instead of another thread's variables.
    mprotect(memory, static_cast<size_t>(sysconf(_SC_PAGESIZE)), PROT_NONE);
    Stack stack{static_cast<char *>(memory), nullptr};
#if defined(__SANITIZE_THREAD__)
    stack.tsanFiber = __tsan_create_fiber(0);
#endif
    return stack;
  }

  std::vector<Stack> stacks_;
  bool abandoned_ = false;
};

}  // namespace sn::emulation
