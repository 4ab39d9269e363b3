// queue.h: the way into the plugin's streams for a library that stands in for one of NVIDIA's.
#pragma once

#include <functional>
#include <string>

#include "emulation/streams.h"

namespace sn::emulation {

// Queues work as a kernel is queued: to run in order, deferred or recorded. It returns why it failed; empty if it did
// not. False: the stream takes none.
__attribute__((visibility("default"))) bool queue(cudaStream_t stream, const char *what,
                                                  std::function<std::string()> work);

}  // namespace sn::emulation
