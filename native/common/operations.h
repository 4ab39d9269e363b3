// operations.h: what a backend gives: one table with an entry for every operation of sinter.h, under the same name.
#pragma once

#include <sinter/sinter.h>

// Operations that run on a stream or ask for a workspace; the dispatcher checks their arguments, the backend runs them.
#define SN_OPERATIONS(X)           \
  X(synchronize)                   \
  X(capture_begin)                 \
  X(capture_end)                   \
  X(replay)                        \
  X(write)                         \
  X(read)                          \
  X(copy)                          \
  X(zero)                          \
  X(cast)                          \
  X(add)                           \
  X(random_normal)                 \
  X(activation_forward)            \
  X(activation_backward)           \
  X(dropout)                       \
  X(gemm_library)                  \
  X(gemm_plans)                    \
  X(gemm_workspace)                \
  X(gemm)                          \
  X(cast_float8)                   \
  X(gemm_float8)                   \
  X(bias_backward)                 \
  X(scale_columns)                 \
  X(scale_columns_backward)        \
  X(lora_workspace)                \
  X(lora)                          \
  X(pack)                          \
  X(packed_rows)                   \
  X(linear_workspace)              \
  X(linear)                        \
  X(embedding_forward)             \
  X(packed_embedding)              \
  X(embedding_backward_workspace)  \
  X(embedding_backward)            \
  X(gather_forward)                \
  X(gather_backward)               \
  X(layer_norm_forward)            \
  X(layer_norm_backward_workspace) \
  X(layer_norm_backward)           \
  X(attention_forward)             \
  X(attention_backward_workspace)  \
  X(attention_backward)            \
  X(cache_append)                  \
  X(attention_decode_workspace)    \
  X(attention_decode)              \
  X(paged_append)                  \
  X(paged_attention_workspace)     \
  X(paged_attention)               \
  X(cross_entropy)                 \
  X(element_loss)                  \
  X(reduce_workspace)              \
  X(sum)                           \
  X(global_norm)                   \
  X(adamw)                         \
  X(sample_workspace)              \
  X(sample)

namespace sn {

struct Operations {
#define SN_ENTRY(name) decltype(&sn_##name) name;
  SN_OPERATIONS(SN_ENTRY)
#undef SN_ENTRY
};

// Life and memory of a device. `open` writes the device's own state behind `sn_device`.
struct Backend {
  int32_t version;  // SN_VERSION of the header it was built with
  sn_status (*count)(int32_t *devices);
  sn_status (*open)(int32_t ordinal, int32_t threads, const char *isa, sn_device **device);
  void (*close)(sn_device *device);
  sn_status (*memory)(const sn_device *device, int64_t *total, int64_t *available);
  sn_status (*allocate)(sn_device *device, int64_t bytes, void **memory);
  void (*free)(sn_device *device, void *memory);
  sn_status (*allocate_host)(sn_device *device, int64_t bytes, void **memory);
  void (*free_host)(sn_device *device, void *memory);
  sn_status (*open_stream)(sn_device *device, sn_stream **stream);
  void (*close_stream)(sn_stream *stream);
  void (*close_recording)(sn_recording *recording);
};

const Backend &cpuBackend();

// A backend in a library of its own exports one function, by the name SN_BACKEND_ENTRY: it takes what the library needs
// of this one and gives its table, or null where `version` is not its own.
using SetMessage = void (*)(const char *message);
using BackendEntry = const Backend *(*)(int32_t version, SetMessage setMessage);
#define SN_BACKEND_ENTRY "sinter_backend"

}  // namespace sn

// Backends derive from these.
struct sn_device {
  const sn::Backend *backend;
  const sn::Operations *operations;
  const char *isa;
  const char *name;
  int32_t threads;
};

struct sn_stream {
  sn_device *device;
};

struct sn_recording {
  sn_device *device;
  int64_t kernels;
};
