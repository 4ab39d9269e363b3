// table.cu: all operations, each behind a door that makes its stream's GPU the calling thread's and names the operation
// to profilers.
#include "cuda/table.h"

#if defined(__CUDACC__)
#include <nvtx3/nvToolsExt.h>
#endif

#include "cuda/device.h"
#include "cuda/operations.h"

namespace sn::cuda {

namespace names {
#define SN_NAME(name)                          \
  struct name {                                \
    static constexpr const char *text = #name; \
  };
SN_OPERATIONS(SN_NAME)
#undef SN_NAME
}  // namespace names

namespace {

// A range in a profiler's time line, as long as this lives.
class Range {
 public:
#if defined(__CUDACC__)
  explicit Range(const char *name) { nvtxRangePushA(name); }
  ~Range() { nvtxRangePop(); }
#else
  explicit Range(const char *) {}
#endif
  Range(const Range &) = delete;
  Range &operator=(const Range &) = delete;
};

// `Name::text` is the operation's name.
template <typename Name, typename Function, Function *operation>
struct Door;

// An operation on a stream.
template <typename Name, typename... Arguments, sn_status (*operation)(sn_stream *, Arguments...)>
struct Door<Name, sn_status(sn_stream *, Arguments...), operation> {
  static sn_status enter(sn_stream *stream, Arguments... arguments) {
    Range range(Name::text);
    sn_status status = check(cudaSetDevice(deviceOf(stream).ordinal), Name::text);
    return status == SN_OK ? operation(stream, arguments...) : status;
  }
};

// A question to a device.
template <typename Name, typename... Arguments, sn_status (*operation)(const sn_device *, Arguments...)>
struct Door<Name, sn_status(const sn_device *, Arguments...), operation> {
  static sn_status enter(const sn_device *device, Arguments... arguments) { return operation(device, arguments...); }
};

}  // namespace

const Operations &operations() {
  static const Operations table{
#define SN_ENTRY(name) &Door<names::name, decltype(cuda::name), cuda::name>::enter,
      SN_OPERATIONS(SN_ENTRY)
#undef SN_ENTRY
  };
  return table;
}

}  // namespace sn::cuda
