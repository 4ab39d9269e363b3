// dispatch.cpp: the C ABI: checks what both backends would have to check, then calls the device's operation.
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "common/backends.h"
#include "common/operations.h"
#include "common/packed_layout.h"
#include "common/status.h"

using sn::fail;

#define SN_CHECK(condition, status, ...)                    \
  do {                                                      \
    if (!(condition)) return sn::fail(status, __VA_ARGS__); \
  } while (false)

#define SN_CHECK_SHAPE(condition, ...) SN_CHECK(condition, SN_BAD_SHAPE, __VA_ARGS__)
#define SN_CHECK_POINTER(pointer, operation) \
  SN_CHECK((pointer) != nullptr, SN_BAD_ARGUMENT, operation ": " #pointer " is null")

// The operands that an operation cannot do without; the message has the name of the one that is missing.
#define SN_CHECK_POINTERS(operation, ...) SN_CHECK_OK(checkPointers(operation, #__VA_ARGS__, {__VA_ARGS__}))

#define SN_CHECK_OK(call)                                          \
  do {                                                             \
    if (sn_status status = (call); status != SN_OK) return status; \
  } while (false)

namespace {

using ll = long long;

// Sizes are bounded so that products of two of them, and byte counts, cannot overflow.
constexpr int64_t kMost = int64_t{1} << 40;

bool sizes(std::initializer_list<int64_t> values) {
  int64_t product = 1;
  for (int64_t value : values) {
    if (value < 1 || value > kMost || __builtin_mul_overflow(product, value, &product)) return false;
  }
  return product <= (int64_t{1} << 56);
}

// `names`: those of the pointers, separated by ", ".
sn_status checkPointers(const char *operation, const char *names, std::initializer_list<const void *> pointers) {
  for (const void *pointer : pointers) {
    size_t length = std::strcspn(names, ",");
    SN_CHECK(pointer != nullptr, SN_BAD_ARGUMENT, "%s: %.*s is null", operation, static_cast<int>(length), names);
    names += length + (names[length] == ',' ? 2 : 0);
  }
  return SN_OK;
}

sn_status checkStream(const sn_stream *stream, const char *operation) {
  SN_CHECK(stream != nullptr, SN_BAD_ARGUMENT, "%s: stream is null", operation);
  return SN_OK;
}

sn_status checkDtype(sn_dtype dtype, const char *operation) {
  SN_CHECK(dtype == SN_F32 || dtype == SN_BF16, SN_BAD_DTYPE, "%s: dtype %d; F32 (0) or BF16 (1)", operation,
           static_cast<int>(dtype));
  return SN_OK;
}

sn_status checkCount(int64_t count, const char *operation) {
  SN_CHECK_SHAPE(sizes({count}), "%s: count %lld; at least 1", operation, static_cast<ll>(count));
  return SN_OK;
}

sn_status checkElements(const sn_stream *stream, sn_dtype dtype, int64_t count, const char *operation) {
  SN_CHECK_OK(checkStream(stream, operation));
  SN_CHECK_OK(checkDtype(dtype, operation));
  return checkCount(count, operation);
}

sn_status checkActivation(sn_activation activation, const char *operation) {
  SN_CHECK(activation >= SN_GELU_TANH && activation <= SN_TANH, SN_BAD_ARGUMENT, "%s: unknown activation %d", operation,
           static_cast<int>(activation));
  return SN_OK;
}

sn_status checkGemm(const sn_gemm_shape *shape) {
  SN_CHECK_POINTER(shape, "gemm");
  const auto &s = *shape;
  SN_CHECK_SHAPE(sizes({s.batch, s.m, s.n}) && sizes({s.batch, s.m, s.k}) && sizes({s.batch, s.k, s.n}),
                 "gemm: batch %lld, m %lld, n %lld, k %lld; each at least 1", static_cast<ll>(s.batch),
                 static_cast<ll>(s.m), static_cast<ll>(s.n), static_cast<ll>(s.k));
  SN_CHECK_SHAPE(s.a_stride >= (s.transpose_a ? s.m : s.k) && s.b_stride >= (s.transpose_b ? s.k : s.n) &&
                     s.c_stride >= s.n && s.a_stride <= kMost && s.b_stride <= kMost && s.c_stride <= kMost,
                 "gemm: strides %lld, %lld, %lld are smaller than a row", static_cast<ll>(s.a_stride),
                 static_cast<ll>(s.b_stride), static_cast<ll>(s.c_stride));
  SN_CHECK_SHAPE(
      s.batch == 1 || (s.a_batch >= 0 && s.b_batch >= 0 && s.c_batch >= s.m * s.c_stride - (s.c_stride - s.n)),
      "gemm: batch strides %lld, %lld, %lld overlap in c or are negative", static_cast<ll>(s.a_batch),
      static_cast<ll>(s.b_batch), static_cast<ll>(s.c_batch));
  SN_CHECK_OK(checkDtype(s.dtype, "gemm"));
  SN_CHECK(s.c_dtype == s.dtype || s.c_dtype == SN_F32, SN_BAD_DTYPE, "gemm: c_dtype %d; that of a and b, or F32 (0)",
           static_cast<int>(s.c_dtype));
  SN_CHECK(s.epilogue >= SN_EPILOGUE_NONE && s.epilogue <= SN_EPILOGUE_ACTIVATION_BACKWARD, SN_BAD_ARGUMENT,
           "gemm: unknown epilogue %d", static_cast<int>(s.epilogue));
  SN_CHECK_OK(checkActivation(s.activation, "gemm"));
  SN_CHECK(!s.accumulate || (s.c_dtype == SN_F32 && s.epilogue == SN_EPILOGUE_NONE), SN_BAD_ARGUMENT,
           "gemm: accumulate needs an F32 c and no epilogue");
  return SN_OK;
}

sn_status checkNorm(const sn_row_norm *norm, bool isDense, const char *operation) {
  if (norm == nullptr) return SN_OK;
  SN_CHECK(norm->gain != nullptr && norm->out != nullptr, SN_BAD_ARGUMENT, "%s: a norm needs gain and out", operation);
  SN_CHECK_SHAPE(isDense, "%s: a norm needs dense rows of one matrix", operation);
  return SN_OK;
}

sn_status checkAttention(const sn_attention_shape *shape, const char *operation) {
  SN_CHECK(shape != nullptr, SN_BAD_ARGUMENT, "%s: shape is null", operation);
  const auto &s = *shape;
  SN_CHECK_SHAPE(sizes({s.batch, s.queries, s.heads, s.head_size}) && sizes({s.batch, s.keys, s.heads, s.head_size}) &&
                     sizes({s.kv_heads}) && s.heads % s.kv_heads == 0,
                 "%s: batch %lld, queries %lld, keys %lld, heads %lld, kv_heads %lld, head_size %lld; each at least 1, "
                 "kv_heads divides heads",
                 operation, static_cast<ll>(s.batch), static_cast<ll>(s.queries), static_cast<ll>(s.keys),
                 static_cast<ll>(s.heads), static_cast<ll>(s.kv_heads), static_cast<ll>(s.head_size));
  SN_CHECK_SHAPE(s.head_size <= 256, "%s: head_size %lld; at most 256", operation, static_cast<ll>(s.head_size));
  SN_CHECK_SHAPE(s.q_stride >= s.heads * s.head_size && s.k_stride >= s.kv_heads * s.head_size &&
                     s.v_stride >= s.kv_heads * s.head_size && s.out_stride >= s.heads * s.head_size &&
                     s.q_stride <= kMost && s.k_stride <= kMost && s.v_stride <= kMost && s.out_stride <= kMost,
                 "%s: a row stride is smaller than heads * head_size", operation);
  SN_CHECK_SHAPE(s.window >= 0, "%s: window %lld; 0 (none) or more", operation, static_cast<ll>(s.window));
  SN_CHECK(s.key_lengths == nullptr || (!s.causal && s.window == 0), SN_UNSUPPORTED,
           "%s: key_lengths together with causal or window; a causal row sees no padding that comes after it",
           operation);
  SN_CHECK(s.key_starts == nullptr || s.causal, SN_UNSUPPORTED, "%s: key_starts without causal", operation);
  SN_CHECK(s.dropout >= 0 && s.dropout < 1, SN_BAD_ARGUMENT, "%s: dropout %g; 0 <= dropout < 1", operation,
           static_cast<double>(s.dropout));
  SN_CHECK(std::isfinite(s.scale) && s.scale >= 0, SN_BAD_ARGUMENT, "%s: scale %g", operation,
           static_cast<double>(s.scale));
  return checkDtype(s.dtype, operation);
}

sn_status checkCache(const sn_cache_shape *shape, const char *operation) {
  SN_CHECK(shape != nullptr, SN_BAD_ARGUMENT, "%s: shape is null", operation);
  const auto &s = *shape;
  SN_CHECK_SHAPE(
      sizes({s.batch, s.queries, s.heads, s.head_size}) && sizes({s.batch, s.capacity, s.heads, s.head_size}) &&
          sizes({s.kv_heads}) && s.heads % s.kv_heads == 0 && s.queries <= s.capacity && s.head_size <= 256,
      "%s: batch %lld, queries %lld, capacity %lld, heads %lld, kv_heads %lld, head_size %lld; each at least 1, "
      "kv_heads divides heads, queries <= capacity, head_size <= 256",
      operation, static_cast<ll>(s.batch), static_cast<ll>(s.queries), static_cast<ll>(s.capacity),
      static_cast<ll>(s.heads), static_cast<ll>(s.kv_heads), static_cast<ll>(s.head_size));
  SN_CHECK_SHAPE(s.q_stride >= s.heads * s.head_size && s.k_stride >= s.kv_heads * s.head_size &&
                     s.v_stride >= s.kv_heads * s.head_size && s.out_stride >= s.heads * s.head_size,
                 "%s: a row stride is smaller than heads * head_size", operation);
  SN_CHECK_SHAPE(s.window >= 0, "%s: window %lld; 0 (none) or more", operation, static_cast<ll>(s.window));
  SN_CHECK(std::isfinite(s.scale) && s.scale >= 0, SN_BAD_ARGUMENT, "%s: scale %g", operation,
           static_cast<double>(s.scale));
  return checkDtype(s.dtype, operation);
}

sn_status checkEpilogue(const sn_gemm_shape &s, const void *bias, const void *aux, const char *operation) {
  SN_CHECK(bias != nullptr || (s.epilogue != SN_EPILOGUE_BIAS && s.epilogue != SN_EPILOGUE_BIAS_ACTIVATION),
           SN_BAD_ARGUMENT, "%s: the epilogue needs a bias", operation);
  SN_CHECK(aux != nullptr || (s.epilogue != SN_EPILOGUE_BIAS_RESIDUAL && s.epilogue != SN_EPILOGUE_ACTIVATION_BACKWARD),
           SN_BAD_ARGUMENT, "%s: the epilogue needs aux", operation);
  return SN_OK;
}

sn_status checkFloat8(sn_float8 type, const char *operation) {
  SN_CHECK(type == SN_E4M3 || type == SN_E5M2, SN_BAD_DTYPE, "%s: type %d; E4M3 (0) or E5M2 (1)", operation,
           static_cast<int>(type));
  return SN_OK;
}

// The keys and values of a call's own rows.
sn_status checkOwn(const void *k, const void *v, const char *operation) {
  SN_CHECK((k == nullptr) == (v == nullptr), SN_BAD_ARGUMENT, "%s: k and v are both given or both null", operation);
  return SN_OK;
}

sn_status backendOf(sn_device_kind kind, const sn::Backend **backend) {
  SN_CHECK(kind == SN_CPU || kind == SN_CUDA, SN_BAD_ARGUMENT, "unknown device kind %d", static_cast<int>(kind));
  *backend = kind == SN_CPU ? &sn::cpuBackend() : sn::cudaBackend();
  SN_CHECK(*backend != nullptr, SN_NO_DEVICE, "no CUDA backend was loaded; use the CPU, or load libsinter_cuda.so");
  return SN_OK;
}

}  // namespace

// ---- library and devices -------------------------------------------------------------------------------------------

int32_t sn_version(void) { return SN_VERSION; }

sn_status sn_load_cuda(const char *library) {
  SN_CHECK_POINTER(library, "load_cuda");
  return sn::loadCuda(library);
}

sn_status sn_device_count(sn_device_kind kind, int32_t *count) {
  SN_CHECK_POINTER(count, "device_count");
  const sn::Backend *backend = nullptr;
  SN_CHECK_OK(backendOf(kind, &backend));
  return backend->count(count);
}

sn_status sn_device_create(sn_device_kind kind, int32_t ordinal, int32_t threads, const char *isa, sn_device **device) {
  SN_CHECK_POINTER(device, "device_create");
  SN_CHECK(threads >= 0 && threads <= 1024, SN_BAD_ARGUMENT, "threads %d; 0 (one a core) to 1024", threads);
  const sn::Backend *backend = nullptr;
  SN_CHECK_OK(backendOf(kind, &backend));
  return backend->open(ordinal, threads, isa, device);
}

void sn_device_destroy(sn_device *device) {
  if (device != nullptr) device->backend->close(device);
}

const char *sn_device_isa(const sn_device *device) { return device == nullptr ? "" : device->isa; }

const char *sn_device_name(const sn_device *device) { return device == nullptr ? "" : device->name; }

int32_t sn_device_threads(const sn_device *device) { return device == nullptr ? 0 : device->threads; }

sn_status sn_device_memory(const sn_device *device, int64_t *total, int64_t *available) {
  SN_CHECK_POINTER(device, "device_memory");
  return device->backend->memory(device, total, available);
}

sn_status sn_stream_create(sn_device *device, sn_stream **stream) {
  SN_CHECK_POINTER(device, "stream_create");
  SN_CHECK_POINTER(stream, "stream_create");
  return device->backend->open_stream(device, stream);
}

void sn_stream_destroy(sn_stream *stream) {
  if (stream != nullptr) stream->device->backend->close_stream(stream);
}

sn_status sn_synchronize(sn_stream *stream) {
  SN_CHECK_OK(checkStream(stream, "synchronize"));
  return stream->device->operations->synchronize(stream);
}

sn_status sn_capture_begin(sn_stream *stream) {
  SN_CHECK_OK(checkStream(stream, "capture_begin"));
  return stream->device->operations->capture_begin(stream);
}

sn_status sn_capture_end(sn_stream *stream, sn_recording **recording) {
  SN_CHECK_OK(checkStream(stream, "capture_end"));
  SN_CHECK_POINTER(recording, "capture_end");
  return stream->device->operations->capture_end(stream, recording);
}

sn_status sn_replay(sn_stream *stream, sn_recording *recording) {
  SN_CHECK_OK(checkStream(stream, "replay"));
  SN_CHECK_POINTER(recording, "replay");
  SN_CHECK(recording->device == stream->device, SN_BAD_ARGUMENT, "replay: the recording is of another device");
  return stream->device->operations->replay(stream, recording);
}

sn_status sn_recording_kernels(const sn_recording *recording, int64_t *count) {
  SN_CHECK_POINTERS("recording_kernels", recording, count);
  *count = recording->kernels;
  return SN_OK;
}

void sn_recording_destroy(sn_recording *recording) {
  if (recording != nullptr) recording->device->backend->close_recording(recording);
}

// ---- memory --------------------------------------------------------------------------------------------------------

sn_status sn_allocate(sn_device *device, int64_t bytes, void **memory) {
  SN_CHECK_POINTER(device, "allocate");
  SN_CHECK_POINTER(memory, "allocate");
  SN_CHECK(bytes >= 1, SN_BAD_ARGUMENT, "allocate: %lld bytes; at least 1", static_cast<ll>(bytes));
  return device->backend->allocate(device, bytes, memory);
}

void sn_free(sn_device *device, void *memory) {
  if (device != nullptr) device->backend->free(device, memory);
}

sn_status sn_allocate_host(sn_device *device, int64_t bytes, void **memory) {
  SN_CHECK_POINTER(device, "allocate_host");
  SN_CHECK_POINTER(memory, "allocate_host");
  SN_CHECK(bytes >= 1, SN_BAD_ARGUMENT, "allocate_host: %lld bytes; at least 1", static_cast<ll>(bytes));
  return device->backend->allocate_host(device, bytes, memory);
}

void sn_free_host(sn_device *device, void *memory) {
  if (device != nullptr) device->backend->free_host(device, memory);
}

sn_status sn_write(sn_stream *stream, void *destination, const void *host, int64_t bytes) {
  SN_CHECK_OK(checkStream(stream, "write"));
  SN_CHECK_OK(checkCount(bytes, "write"));
  SN_CHECK_POINTERS("write", destination, host);
  return stream->device->operations->write(stream, destination, host, bytes);
}

sn_status sn_read(sn_stream *stream, const void *source, void *host, int64_t bytes) {
  SN_CHECK_OK(checkStream(stream, "read"));
  SN_CHECK_OK(checkCount(bytes, "read"));
  SN_CHECK_POINTERS("read", source, host);
  return stream->device->operations->read(stream, source, host, bytes);
}

sn_status sn_copy(sn_stream *stream, void *destination, const void *source, int64_t bytes) {
  SN_CHECK_OK(checkStream(stream, "copy"));
  SN_CHECK_OK(checkCount(bytes, "copy"));
  SN_CHECK_POINTERS("copy", destination, source);
  return stream->device->operations->copy(stream, destination, source, bytes);
}

sn_status sn_zero(sn_stream *stream, void *destination, int64_t bytes) {
  SN_CHECK_OK(checkStream(stream, "zero"));
  SN_CHECK_OK(checkCount(bytes, "zero"));
  SN_CHECK_POINTERS("zero", destination);
  return stream->device->operations->zero(stream, destination, bytes);
}

// ---- elementwise ---------------------------------------------------------------------------------------------------

sn_status sn_cast(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_dtype to, void *out) {
  SN_CHECK_OK(checkElements(stream, from, count, "cast"));
  SN_CHECK_OK(checkDtype(to, "cast"));
  SN_CHECK_POINTERS("cast", in, out);
  return stream->device->operations->cast(stream, count, from, in, to, out);
}

sn_status sn_add(sn_stream *stream, sn_dtype dtype, int64_t count, const void *a, const void *b, void *out) {
  SN_CHECK_OK(checkElements(stream, dtype, count, "add"));
  SN_CHECK_POINTERS("add", a, b, out);
  return stream->device->operations->add(stream, dtype, count, a, b, out);
}

sn_status sn_random_normal(sn_stream *stream, int64_t count, float mean, float deviation, sn_random_key key,
                           float *out) {
  SN_CHECK_OK(checkElements(stream, SN_F32, count, "random_normal"));
  SN_CHECK_POINTERS("random_normal", out);
  return stream->device->operations->random_normal(stream, count, mean, deviation, key, out);
}

sn_status sn_activation_forward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count,
                                const void *x, void *out) {
  SN_CHECK_OK(checkElements(stream, dtype, count, "activation_forward"));
  SN_CHECK_OK(checkActivation(activation, "activation_forward"));
  SN_CHECK_POINTERS("activation_forward", x, out);
  return stream->device->operations->activation_forward(stream, activation, dtype, count, x, out);
}

sn_status sn_activation_backward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count,
                                 const void *x, const void *dout, void *dx) {
  SN_CHECK_OK(checkElements(stream, dtype, count, "activation_backward"));
  SN_CHECK_OK(checkActivation(activation, "activation_backward"));
  SN_CHECK_POINTERS("activation_backward", x, dout, dx);
  return stream->device->operations->activation_backward(stream, activation, dtype, count, x, dout, dx);
}

sn_status sn_dropout(sn_stream *stream, sn_dtype dtype, int64_t count, float p, sn_random_key key, const void *x,
                     const void *residual, void *out) {
  SN_CHECK_OK(checkElements(stream, dtype, count, "dropout"));
  SN_CHECK(p >= 0 && p < 1, SN_BAD_ARGUMENT, "dropout: p %g; 0 <= p < 1", static_cast<double>(p));
  SN_CHECK_POINTERS("dropout", x, out);
  return stream->device->operations->dropout(stream, dtype, count, p, key, x, residual, out);
}

// ---- matrix product ------------------------------------------------------------------------------------------------

sn_status sn_gemm_library(const sn_device *device, const char *folder, int64_t *version) {
  SN_CHECK_POINTER(device, "gemm_library");
  SN_CHECK_POINTER(version, "gemm_library");
  return device->operations->gemm_library(device, folder, version);
}

sn_status sn_gemm_plans(const sn_device *device, const sn_gemm_shape *shape, int32_t capacity, int64_t *plans,
                        int32_t *count) {
  SN_CHECK_POINTER(device, "gemm_plans");
  SN_CHECK(capacity >= 0, SN_BAD_ARGUMENT, "gemm_plans: capacity %d; 0 or more", capacity);
  SN_CHECK(plans != nullptr || capacity == 0, SN_BAD_ARGUMENT, "gemm_plans: plans is null");
  SN_CHECK_POINTER(count, "gemm_plans");
  SN_CHECK_OK(checkGemm(shape));
  return device->operations->gemm_plans(device, shape, capacity, plans, count);
}

sn_status sn_gemm_workspace(const sn_device *device, const sn_gemm_shape *shape, int64_t *bytes) {
  SN_CHECK_POINTER(device, "gemm_workspace");
  SN_CHECK_POINTER(bytes, "gemm_workspace");
  SN_CHECK_OK(checkGemm(shape));
  return device->operations->gemm_workspace(device, shape, bytes);
}

sn_status sn_gemm(sn_stream *stream, const sn_gemm_shape *shape, const sn_row_norm *norm, const void *a, const void *b,
                  void *c, const void *bias, void *aux, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "gemm"));
  SN_CHECK_OK(checkGemm(shape));
  SN_CHECK_OK(checkNorm(norm, shape->batch == 1 && !shape->transpose_a && shape->a_stride == shape->k, "gemm"));
  SN_CHECK_OK(checkEpilogue(*shape, bias, aux, "gemm"));
  SN_CHECK_POINTERS("gemm", a, b, c);
  return stream->device->operations->gemm(stream, shape, norm, a, b, c, bias, aux, workspace);
}

sn_status sn_cast_float8(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_float8 to, void *out,
                         float *scale) {
  SN_CHECK_OK(checkElements(stream, from, count, "cast_float8"));
  SN_CHECK_OK(checkFloat8(to, "cast_float8"));
  SN_CHECK_POINTERS("cast_float8", in, out, scale);
  return stream->device->operations->cast_float8(stream, count, from, in, to, out, scale);
}

sn_status sn_gemm_float8(sn_stream *stream, const sn_gemm_shape *shape, sn_float8 a_type, const void *a,
                         const float *a_scale, sn_float8 b_type, const void *b, const float *b_scale, void *c,
                         const void *bias, void *aux) {
  SN_CHECK_OK(checkStream(stream, "gemm_float8"));
  SN_CHECK_OK(checkGemm(shape));
  SN_CHECK_OK(checkFloat8(a_type, "gemm_float8"));
  SN_CHECK_OK(checkFloat8(b_type, "gemm_float8"));
  SN_CHECK(shape->dtype == SN_BF16, SN_BAD_DTYPE, "gemm_float8: dtype %d, of bias and aux; BF16 (1)",
           static_cast<int>(shape->dtype));
  SN_CHECK(shape->transpose_a == 0 && shape->transpose_b != 0 && shape->plan == 0, SN_BAD_ARGUMENT,
           "gemm_float8: a is [m, k], b [n, k] (transpose_b), plan 0");
  SN_CHECK_OK(checkEpilogue(*shape, bias, aux, "gemm_float8"));
  SN_CHECK_POINTERS("gemm_float8", a, a_scale, b, b_scale, c);
  return stream->device->operations->gemm_float8(stream, shape, a_type, a, a_scale, b_type, b, b_scale, c, bias, aux);
}

sn_status sn_bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                           const void *dout, int32_t accumulate, float *dbias) {
  SN_CHECK_OK(checkStream(stream, "bias_backward"));
  SN_CHECK_OK(checkDtype(dtype, "bias_backward"));
  SN_CHECK_SHAPE(sizes({rows, columns}), "bias_backward: rows %lld, columns %lld; each at least 1",
                 static_cast<ll>(rows), static_cast<ll>(columns));
  SN_CHECK_SHAPE(stride >= columns, "bias_backward: stride %lld is less than columns %lld", static_cast<ll>(stride),
                 static_cast<ll>(columns));
  SN_CHECK_POINTERS("bias_backward", dout, dbias);
  return stream->device->operations->bias_backward(stream, dtype, rows, columns, stride, dout, accumulate, dbias);
}

// ---- low-rank updates ----------------------------------------------------------------------------------------------

namespace {

sn_status checkColumns(const sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor,
                       const char *operation) {
  SN_CHECK_OK(checkStream(stream, operation));
  SN_CHECK_OK(checkDtype(dtype, operation));
  SN_CHECK_SHAPE(sizes({rows, columns}), "%s: rows %lld, columns %lld; each at least 1", operation,
                 static_cast<ll>(rows), static_cast<ll>(columns));
  SN_CHECK(std::isfinite(factor), SN_BAD_ARGUMENT, "%s: factor %g", operation, static_cast<double>(factor));
  return SN_OK;
}

sn_status checkLora(const sn_lora_shape *shape) {
  SN_CHECK_POINTER(shape, "lora");
  const auto &s = *shape;
  SN_CHECK_SHAPE(sizes({s.rows, s.in}) && sizes({s.rows, s.out}) && sizes({s.rows, s.rank, 4}) &&
                     sizes({s.adapters, s.rank, s.in}) && sizes({s.adapters, s.rank, s.out}) && s.rows <= INT32_MAX &&
                     s.adapters <= INT32_MAX,
                 "lora: rows %lld, in %lld, out %lld, rank %lld, adapters %lld; each at least 1, rows and adapters "
                 "below 2^31",
                 static_cast<ll>(s.rows), static_cast<ll>(s.in), static_cast<ll>(s.out), static_cast<ll>(s.rank),
                 static_cast<ll>(s.adapters));
  SN_CHECK_SHAPE(s.x_stride >= s.in && s.y_stride >= s.out && s.x_stride <= kMost && s.y_stride <= kMost,
                 "lora: strides %lld, %lld are smaller than a row", static_cast<ll>(s.x_stride),
                 static_cast<ll>(s.y_stride));
  return checkDtype(s.dtype, "lora");
}

}  // namespace

sn_status sn_scale_columns(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor,
                           const void *x, const void *scale, void *out) {
  SN_CHECK_OK(checkColumns(stream, dtype, rows, columns, factor, "scale_columns"));
  SN_CHECK_POINTERS("scale_columns", x, out);
  return stream->device->operations->scale_columns(stream, dtype, rows, columns, factor, x, scale, out);
}

sn_status sn_scale_columns_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor,
                                    const void *x, const void *dout, int32_t accumulate, float *dscale) {
  SN_CHECK_OK(checkColumns(stream, dtype, rows, columns, factor, "scale_columns_backward"));
  SN_CHECK_POINTERS("scale_columns_backward", x, dout, dscale);
  return stream->device->operations->scale_columns_backward(stream, dtype, rows, columns, factor, x, dout, accumulate,
                                                            dscale);
}

sn_status sn_lora_workspace(const sn_device *device, const sn_lora_shape *shape, int64_t *bytes) {
  SN_CHECK_POINTER(device, "lora_workspace");
  SN_CHECK_POINTER(bytes, "lora_workspace");
  SN_CHECK_OK(checkLora(shape));
  return device->operations->lora_workspace(device, shape, bytes);
}

sn_status sn_lora(sn_stream *stream, const sn_lora_shape *shape, const int32_t *which, const void *x, const void *a,
                  const void *b, void *y, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "lora"));
  SN_CHECK_OK(checkLora(shape));
  SN_CHECK_POINTERS("lora", which, x, a, b, y, workspace);
  return stream->device->operations->lora(stream, shape, which, x, a, b, y, workspace);
}

// ---- packed weights ------------------------------------------------------------------------------------------------

namespace {

sn_status checkPacked(sn_weight_format format, int64_t in, int64_t out, const char *operation) {
  SN_CHECK(format >= SN_WEIGHT_F32 && format <= SN_WEIGHT_Q4, SN_BAD_DTYPE,
           "%s: weight format %d; F32 (0), BF16 (1), Q8 (2) or Q4 (3)", operation, static_cast<int>(format));
  SN_CHECK_SHAPE(sizes({in, out, 64 * 16}), "%s: in %lld, out %lld; each at least 1", operation, static_cast<ll>(in),
                 static_cast<ll>(out));
  return SN_OK;
}

sn_status checkLinear(const sn_linear_shape *shape) {
  SN_CHECK_POINTER(shape, "linear");
  const auto &s = *shape;
  SN_CHECK_OK(checkPacked(s.format, s.in, s.out, "linear"));
  SN_CHECK_SHAPE(sizes({s.rows, s.in}) && sizes({s.rows, s.out}),
                 "linear: rows %lld, in %lld, out %lld; each at least 1", static_cast<ll>(s.rows),
                 static_cast<ll>(s.in), static_cast<ll>(s.out));
  SN_CHECK_SHAPE(s.x_stride >= s.in && s.y_stride >= s.out && s.x_stride <= kMost && s.y_stride <= kMost,
                 "linear: strides %lld, %lld are smaller than a row", static_cast<ll>(s.x_stride),
                 static_cast<ll>(s.y_stride));
  SN_CHECK_OK(checkDtype(s.dtype, "linear"));
  SN_CHECK(s.y_dtype == s.dtype || s.y_dtype == SN_F32, SN_BAD_DTYPE, "linear: y_dtype %d; that of x, or F32 (0)",
           static_cast<int>(s.y_dtype));
  SN_CHECK(s.epilogue >= SN_EPILOGUE_NONE && s.epilogue <= SN_EPILOGUE_BIAS_RESIDUAL, SN_BAD_ARGUMENT,
           "linear: epilogue %d; 0 to %d", static_cast<int>(s.epilogue), static_cast<int>(SN_EPILOGUE_BIAS_RESIDUAL));
  return checkActivation(s.activation, "linear");
}

}  // namespace

sn_status sn_pack_bytes(sn_weight_format format, int64_t in, int64_t out, int64_t *bytes) {
  SN_CHECK_OK(checkPacked(format, in, out, "pack_bytes"));
  SN_CHECK_POINTER(bytes, "pack_bytes");
  *bytes = sn::PackedLayout(format, in, out).bytes();
  return SN_OK;
}

sn_status sn_pack(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out,
                  int32_t out_by_in, const void *weights, void *packed) {
  SN_CHECK_OK(checkStream(stream, "pack"));
  SN_CHECK_OK(checkPacked(format, in, out, "pack"));
  SN_CHECK_OK(checkDtype(dtype, "pack"));
  SN_CHECK_POINTERS("pack", weights, packed);
  return stream->device->operations->pack(stream, format, dtype, in, out, out_by_in, weights, packed);
}

sn_status sn_packed_rows(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out,
                         int64_t count, const int32_t *indices, const void *packed, void *rows) {
  SN_CHECK_OK(checkStream(stream, "packed_rows"));
  SN_CHECK_OK(checkPacked(format, in, out, "packed_rows"));
  SN_CHECK_OK(checkDtype(dtype, "packed_rows"));
  SN_CHECK_SHAPE(sizes({count, in}) && out <= INT32_MAX, "packed_rows: count %lld, out %lld; at least 1, below 2^31",
                 static_cast<ll>(count), static_cast<ll>(out));
  SN_CHECK_POINTERS("packed_rows", indices, packed, rows);
  return stream->device->operations->packed_rows(stream, format, dtype, in, out, count, indices, packed, rows);
}

sn_status sn_linear_workspace(const sn_device *device, const sn_linear_shape *shape, int64_t *bytes) {
  SN_CHECK_POINTER(device, "linear_workspace");
  SN_CHECK_POINTER(bytes, "linear_workspace");
  SN_CHECK_OK(checkLinear(shape));
  return device->operations->linear_workspace(device, shape, bytes);
}

sn_status sn_linear(sn_stream *stream, const sn_linear_shape *shape, const sn_row_norm *norm, const void *x,
                    const void *packed, void *y, const void *bias, const void *aux, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "linear"));
  SN_CHECK_OK(checkLinear(shape));
  SN_CHECK_OK(checkNorm(norm, shape->x_stride == shape->in, "linear"));
  SN_CHECK_POINTERS("linear", x, packed, y);
  bool wantsBias = shape->epilogue == SN_EPILOGUE_BIAS || shape->epilogue == SN_EPILOGUE_BIAS_ACTIVATION;
  SN_CHECK(!wantsBias || bias != nullptr, SN_BAD_ARGUMENT, "linear: the epilogue needs a bias");
  SN_CHECK(shape->epilogue != SN_EPILOGUE_BIAS_RESIDUAL || aux != nullptr, SN_BAD_ARGUMENT,
           "linear: the epilogue needs aux");
  int64_t bytes = 0;
  SN_CHECK_OK(stream->device->operations->linear_workspace(stream->device, shape, &bytes));
  SN_CHECK(bytes == 0 || workspace != nullptr, SN_BAD_ARGUMENT, "linear: workspace is null");
  return stream->device->operations->linear(stream, shape, norm, x, packed, y, bias, aux, workspace);
}

// ---- embedding -----------------------------------------------------------------------------------------------------

namespace {

sn_status checkEmbedding(const sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                         int64_t vocabulary, int64_t positions, const char *operation) {
  SN_CHECK_OK(checkStream(stream, operation));
  SN_CHECK_OK(checkDtype(dtype, operation));
  SN_CHECK_SHAPE(sizes({batch, length, width}) && sizes({vocabulary, width}) && positions >= 0 &&
                     (positions == 0 || sizes({positions, width})),
                 "%s: batch %lld, length %lld, width %lld, vocabulary %lld, positions %lld; each at least 1", operation,
                 static_cast<ll>(batch), static_cast<ll>(length), static_cast<ll>(width), static_cast<ll>(vocabulary),
                 static_cast<ll>(positions));
  return SN_OK;
}

}  // namespace

sn_status sn_embedding_forward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                               int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                               const int32_t *offsets, const void *token_table, const void *position_table, void *out) {
  SN_CHECK_OK(checkEmbedding(stream, dtype, batch, length, width, vocabulary, positions, "embedding_forward"));
  SN_CHECK_POINTERS("embedding_forward", tokens, token_table, out);
  return stream->device->operations->embedding_forward(stream, dtype, batch, length, width, vocabulary, positions,
                                                       scale, tokens, offsets, token_table, position_table, out);
}

sn_status sn_packed_embedding(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t batch, int64_t length,
                              int64_t width, int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                              const int32_t *offsets, const void *packed, const void *position_table, void *out) {
  SN_CHECK_OK(checkEmbedding(stream, dtype, batch, length, width, vocabulary, positions, "packed_embedding"));
  SN_CHECK_OK(checkPacked(format, width, vocabulary, "packed_embedding"));
  SN_CHECK_POINTERS("packed_embedding", tokens, packed, out);
  return stream->device->operations->packed_embedding(stream, format, dtype, batch, length, width, vocabulary,
                                                      positions, scale, tokens, offsets, packed, position_table, out);
}

sn_status sn_embedding_backward_workspace(const sn_device *device, int64_t batch, int64_t length, int64_t *bytes) {
  SN_CHECK_POINTER(device, "embedding_backward_workspace");
  SN_CHECK_POINTER(bytes, "embedding_backward_workspace");
  SN_CHECK_SHAPE(sizes({batch, length}), "embedding_backward_workspace: batch %lld, length %lld; each at least 1",
                 static_cast<ll>(batch), static_cast<ll>(length));
  return device->operations->embedding_backward_workspace(device, batch, length, bytes);
}

sn_status sn_embedding_backward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                                int64_t vocabulary, int64_t positions, float scale, int32_t padding,
                                const int32_t *tokens, const void *dout, int32_t accumulate_positions,
                                float *dtoken_table, float *dposition_table, void *workspace) {
  SN_CHECK_OK(checkEmbedding(stream, dtype, batch, length, width, vocabulary, positions, "embedding_backward"));
  SN_CHECK_SHAPE(dposition_table == nullptr || length <= positions,
                 "embedding_backward: length %lld is more than positions %lld", static_cast<ll>(length),
                 static_cast<ll>(positions));
  SN_CHECK_POINTERS("embedding_backward", tokens, dout);
  return stream->device->operations->embedding_backward(stream, dtype, batch, length, width, vocabulary, positions,
                                                        scale, padding, tokens, dout, accumulate_positions,
                                                        dtoken_table, dposition_table, workspace);
}

// ---- rows ----------------------------------------------------------------------------------------------------------

namespace {

sn_status checkGather(const sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                      const char *operation) {
  SN_CHECK_OK(checkStream(stream, operation));
  SN_CHECK_OK(checkDtype(dtype, operation));
  SN_CHECK_SHAPE(sizes({rows, width}) && sizes({count, width}) && rows <= INT32_MAX,
                 "%s: rows %lld, width %lld, count %lld; each at least 1, rows below 2^31", operation,
                 static_cast<ll>(rows), static_cast<ll>(width), static_cast<ll>(count));
  return SN_OK;
}

}  // namespace

sn_status sn_gather_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                            const int32_t *indices, const void *in, void *out) {
  SN_CHECK_OK(checkGather(stream, dtype, rows, width, count, "gather_forward"));
  SN_CHECK_POINTERS("gather_forward", indices, in, out);
  return stream->device->operations->gather_forward(stream, dtype, rows, width, count, indices, in, out);
}

sn_status sn_gather_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                             const int32_t *indices, const void *dout, void *din) {
  SN_CHECK_OK(checkGather(stream, dtype, rows, width, count, "gather_backward"));
  SN_CHECK_POINTERS("gather_backward", indices, dout, din);
  return stream->device->operations->gather_backward(stream, dtype, rows, width, count, indices, dout, din);
}

// ---- layer norm ----------------------------------------------------------------------------------------------------

namespace {

sn_status checkRows(int64_t rows, int64_t width, const char *operation) {
  SN_CHECK_SHAPE(sizes({rows, width}), "%s: rows %lld, width %lld; each at least 1", operation, static_cast<ll>(rows),
                 static_cast<ll>(width));
  return SN_OK;
}

}  // namespace

sn_status sn_layer_norm_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, float epsilon,
                                const void *x, const void *residual, const void *gain, const void *bias, void *sum,
                                void *out, float *mean, float *rstd) {
  SN_CHECK_OK(checkStream(stream, "layer_norm_forward"));
  SN_CHECK_OK(checkDtype(dtype, "layer_norm_forward"));
  SN_CHECK_OK(checkRows(rows, width, "layer_norm_forward"));
  SN_CHECK((mean == nullptr) == (rstd == nullptr), SN_BAD_ARGUMENT,
           "layer_norm_forward: mean and rstd are both kept or both null");
  SN_CHECK_POINTERS("layer_norm_forward", x, gain, out);
  return stream->device->operations->layer_norm_forward(stream, dtype, rows, width, epsilon, x, residual, gain, bias,
                                                        sum, out, mean, rstd);
}

sn_status sn_layer_norm_backward_workspace(const sn_device *device, int64_t rows, int64_t width, int64_t *bytes) {
  SN_CHECK_POINTER(device, "layer_norm_backward_workspace");
  SN_CHECK_POINTER(bytes, "layer_norm_backward_workspace");
  SN_CHECK_OK(checkRows(rows, width, "layer_norm_backward_workspace"));
  return device->operations->layer_norm_backward_workspace(device, rows, width, bytes);
}

sn_status sn_layer_norm_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, const void *s,
                                 const void *gain, const float *mean, const float *rstd, const void *dout,
                                 const void *dresidual, int32_t accumulate, void *dx, float *dgain, float *dbias,
                                 float *dshift, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "layer_norm_backward"));
  SN_CHECK_OK(checkDtype(dtype, "layer_norm_backward"));
  SN_CHECK_OK(checkRows(rows, width, "layer_norm_backward"));
  SN_CHECK_POINTERS("layer_norm_backward", s, gain, mean, rstd, dout, dx, workspace);
  return stream->device->operations->layer_norm_backward(stream, dtype, rows, width, s, gain, mean, rstd, dout,
                                                         dresidual, accumulate, dx, dgain, dbias, dshift, workspace);
}

// ---- attention -----------------------------------------------------------------------------------------------------

sn_status sn_attention_forward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                               const void *v, void *out, float *lse) {
  SN_CHECK_OK(checkStream(stream, "attention_forward"));
  SN_CHECK_OK(checkAttention(shape, "attention_forward"));
  SN_CHECK_POINTERS("attention_forward", q, k, v, out);
  return stream->device->operations->attention_forward(stream, shape, q, k, v, out, lse);
}

sn_status sn_attention_backward_workspace(const sn_device *device, const sn_attention_shape *shape, int64_t *bytes) {
  SN_CHECK_POINTER(device, "attention_backward_workspace");
  SN_CHECK_POINTER(bytes, "attention_backward_workspace");
  SN_CHECK_OK(checkAttention(shape, "attention_backward_workspace"));
  return device->operations->attention_backward_workspace(device, shape, bytes);
}

sn_status sn_attention_backward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                                const void *v, const void *out, const float *lse, const void *dout, void *dq, void *dk,
                                void *dv, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "attention_backward"));
  SN_CHECK_OK(checkAttention(shape, "attention_backward"));
  SN_CHECK_POINTERS("attention_backward", q, k, v, out, lse, dout, dq, dk, dv, workspace);
  return stream->device->operations->attention_backward(stream, shape, q, k, v, out, lse, dout, dq, dk, dv, workspace);
}

sn_status sn_cache_append(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *k,
                          const void *v, void *key_cache, void *value_cache) {
  SN_CHECK_OK(checkStream(stream, "cache_append"));
  SN_CHECK_OK(checkCache(shape, "cache_append"));
  SN_CHECK_POINTERS("cache_append", lengths, k, v, key_cache, value_cache);
  return stream->device->operations->cache_append(stream, shape, lengths, k, v, key_cache, value_cache);
}

sn_status sn_attention_decode_workspace(const sn_device *device, const sn_cache_shape *shape, int64_t *bytes) {
  SN_CHECK_POINTER(device, "attention_decode_workspace");
  SN_CHECK_POINTER(bytes, "attention_decode_workspace");
  SN_CHECK_OK(checkCache(shape, "attention_decode_workspace"));
  return device->operations->attention_decode_workspace(device, shape, bytes);
}

sn_status sn_attention_decode(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *q,
                              const void *k, const void *v, void *key_cache, void *value_cache, void *out,
                              void *workspace) {
  SN_CHECK_OK(checkStream(stream, "attention_decode"));
  SN_CHECK_OK(checkCache(shape, "attention_decode"));
  SN_CHECK_POINTERS("attention_decode", lengths, q, key_cache, value_cache, out);
  SN_CHECK_OK(checkOwn(k, v, "attention_decode"));
  return stream->device->operations->attention_decode(stream, shape, lengths, q, k, v, key_cache, value_cache, out,
                                                      workspace);
}

namespace {

sn_status checkPaged(const sn_paged_shape *shape, const char *operation) {
  SN_CHECK(shape != nullptr, SN_BAD_ARGUMENT, "%s: shape is null", operation);
  const auto &s = *shape;
  SN_CHECK_SHAPE(
      sizes({s.rows, s.heads, s.head_size}) && sizes({s.pages, s.page_size, s.heads, s.head_size}) &&
          sizes({s.sequences, s.table_stride}) && sizes({s.kv_heads}) && s.heads % s.kv_heads == 0 &&
          s.head_size <= 256 && s.rows <= INT32_MAX && s.pages <= INT32_MAX && s.sequences <= INT32_MAX &&
          sizes({s.table_stride, s.page_size}) && s.table_stride * s.page_size <= INT32_MAX,
      "%s: rows %lld, sequences %lld, heads %lld, kv_heads %lld, head_size %lld, pages %lld, page_size %lld, "
      "table_stride %lld; each at least 1, kv_heads divides heads, head_size <= 256",
      operation, static_cast<ll>(s.rows), static_cast<ll>(s.sequences), static_cast<ll>(s.heads),
      static_cast<ll>(s.kv_heads), static_cast<ll>(s.head_size), static_cast<ll>(s.pages), static_cast<ll>(s.page_size),
      static_cast<ll>(s.table_stride));
  SN_CHECK_SHAPE(s.q_stride >= s.heads * s.head_size && s.k_stride >= s.kv_heads * s.head_size &&
                     s.v_stride >= s.kv_heads * s.head_size && s.out_stride >= s.heads * s.head_size &&
                     s.q_stride <= kMost && s.k_stride <= kMost && s.v_stride <= kMost && s.out_stride <= kMost,
                 "%s: a row stride is smaller than heads * head_size", operation);
  SN_CHECK_SHAPE(s.window >= 0, "%s: window %lld; 0 (none) or more", operation, static_cast<ll>(s.window));
  SN_CHECK(std::isfinite(s.scale) && s.scale >= 0, SN_BAD_ARGUMENT, "%s: scale %g", operation,
           static_cast<double>(s.scale));
  SN_CHECK_OK(checkDtype(s.dtype, operation));
  SN_CHECK(s.cache_dtype == s.dtype || s.cache_dtype == SN_BF16, SN_BAD_DTYPE,
           "%s: cache_dtype %d; that of q, or BF16 (1)", operation, static_cast<int>(s.cache_dtype));
  return SN_OK;
}

}  // namespace

sn_status sn_paged_append(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                          const int32_t *positions, const int32_t *tables, const void *k, const void *v,
                          void *key_pages, void *value_pages) {
  SN_CHECK_OK(checkStream(stream, "paged_append"));
  SN_CHECK_OK(checkPaged(shape, "paged_append"));
  SN_CHECK_POINTERS("paged_append", slots, positions, tables, k, v, key_pages, value_pages);
  return stream->device->operations->paged_append(stream, shape, slots, positions, tables, k, v, key_pages,
                                                  value_pages);
}

sn_status sn_paged_attention_workspace(const sn_device *device, const sn_paged_shape *shape, int64_t *bytes) {
  SN_CHECK_POINTER(device, "paged_attention_workspace");
  SN_CHECK_POINTER(bytes, "paged_attention_workspace");
  SN_CHECK_OK(checkPaged(shape, "paged_attention_workspace"));
  return device->operations->paged_attention_workspace(device, shape, bytes);
}

sn_status sn_paged_attention(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                             const int32_t *positions, const int32_t *tables, const void *q, const void *k,
                             const void *v, void *key_pages, void *value_pages, void *out, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "paged_attention"));
  SN_CHECK_OK(checkPaged(shape, "paged_attention"));
  SN_CHECK_POINTERS("paged_attention", slots, positions, tables, q, key_pages, value_pages, out);
  SN_CHECK_OK(checkOwn(k, v, "paged_attention"));
  return stream->device->operations->paged_attention(stream, shape, slots, positions, tables, q, k, v, key_pages,
                                                     value_pages, out, workspace);
}

// ---- loss ----------------------------------------------------------------------------------------------------------

sn_status sn_cross_entropy(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                           float smoothing, void *logits, const int32_t *targets, const float *weights,
                           float gradient_scale, float *losses) {
  SN_CHECK_OK(checkStream(stream, "cross_entropy"));
  SN_CHECK_OK(checkDtype(dtype, "cross_entropy"));
  SN_CHECK_OK(checkRows(rows, vocabulary, "cross_entropy"));
  SN_CHECK_SHAPE(stride >= vocabulary, "cross_entropy: stride %lld is less than vocabulary %lld",
                 static_cast<ll>(stride), static_cast<ll>(vocabulary));
  SN_CHECK(smoothing >= 0 && smoothing < 1, SN_BAD_ARGUMENT, "cross_entropy: smoothing %g; 0 <= smoothing < 1",
           static_cast<double>(smoothing));
  SN_CHECK_POINTERS("cross_entropy", logits, targets, losses);
  return stream->device->operations->cross_entropy(stream, dtype, rows, vocabulary, stride, smoothing, logits, targets,
                                                   weights, gradient_scale, losses);
}

sn_status sn_element_loss(sn_stream *stream, sn_error error, sn_dtype dtype, int64_t count, void *x,
                          const float *targets, const float *weights, float gradient_scale, float *losses) {
  SN_CHECK_OK(checkElements(stream, dtype, count, "element_loss"));
  SN_CHECK(error == SN_SQUARED_ERROR || error == SN_BINARY_CROSS_ENTROPY, SN_BAD_ARGUMENT,
           "element_loss: unknown error %d", static_cast<int>(error));
  SN_CHECK_POINTERS("element_loss", x, targets, losses);
  return stream->device->operations->element_loss(stream, error, dtype, count, x, targets, weights, gradient_scale,
                                                  losses);
}

sn_status sn_reduce_workspace(const sn_device *device, int64_t count, int64_t *bytes) {
  SN_CHECK_POINTER(device, "reduce_workspace");
  SN_CHECK_POINTER(bytes, "reduce_workspace");
  SN_CHECK_OK(checkCount(count, "reduce_workspace"));
  return device->operations->reduce_workspace(device, count, bytes);
}

sn_status sn_sum(sn_stream *stream, int64_t count, float factor, const float *x, int32_t accumulate, float *out,
                 void *workspace) {
  SN_CHECK_OK(checkElements(stream, SN_F32, count, "sum"));
  SN_CHECK_POINTERS("sum", x, out);
  return stream->device->operations->sum(stream, count, factor, x, accumulate, out, workspace);
}

// ---- optimizer -----------------------------------------------------------------------------------------------------

sn_status sn_global_norm(sn_stream *stream, int64_t count, const float *x, float *out, void *workspace) {
  SN_CHECK_OK(checkElements(stream, SN_F32, count, "global_norm"));
  SN_CHECK_POINTERS("global_norm", x, out);
  return stream->device->operations->global_norm(stream, count, x, out, workspace);
}

sn_status sn_adamw(sn_stream *stream, const sn_adamw_step *step, int64_t count, const float *gradient,
                   const float *norm, const uint8_t *decay_mask, float *master, float *m, float *v, int32_t stochastic,
                   void *parameters) {
  SN_CHECK_OK(checkElements(stream, SN_F32, count, "adamw"));
  SN_CHECK_POINTER(step, "adamw");
  SN_CHECK(step->step >= 1 || step->clock != nullptr, SN_BAD_ARGUMENT, "adamw: step %lld; steps count from 1",
           static_cast<ll>(step->step));
  SN_CHECK(step->clip == 0 || norm != nullptr, SN_BAD_ARGUMENT, "adamw: clip %g needs the norm",
           static_cast<double>(step->clip));
  SN_CHECK_POINTERS("adamw", gradient, master, m, v);
  return stream->device->operations->adamw(stream, step, count, gradient, norm, decay_mask, master, m, v, stochastic,
                                           parameters);
}

// ---- sampling ------------------------------------------------------------------------------------------------------

sn_status sn_sample_workspace(const sn_device *device, int64_t rows, int64_t vocabulary, int64_t *bytes) {
  SN_CHECK_POINTER(device, "sample_workspace");
  SN_CHECK_POINTER(bytes, "sample_workspace");
  SN_CHECK_OK(checkRows(rows, vocabulary, "sample_workspace"));
  return device->operations->sample_workspace(device, rows, vocabulary, bytes);
}

sn_status sn_sample(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                    const void *logits, const sn_sampling *samplings, int64_t histories, int64_t history_stride,
                    const int32_t *history, int32_t *tokens, float *logprobs, void *workspace) {
  SN_CHECK_OK(checkStream(stream, "sample"));
  SN_CHECK_OK(checkDtype(dtype, "sample"));
  SN_CHECK_OK(checkRows(rows, vocabulary, "sample"));
  SN_CHECK_SHAPE(stride >= vocabulary, "sample: stride %lld is less than vocabulary %lld", static_cast<ll>(stride),
                 static_cast<ll>(vocabulary));
  SN_CHECK_SHAPE(histories == 0 ? history == nullptr : sizes({histories, history_stride}) && history != nullptr,
                 "sample: histories %lld of stride %lld; both at least 1 with a history, 0 histories without",
                 static_cast<ll>(histories), static_cast<ll>(history_stride));
  SN_CHECK_POINTERS("sample", logits, samplings, tokens, workspace);
  return stream->device->operations->sample(stream, dtype, rows, vocabulary, stride, logits, samplings, histories,
                                            history_stride, history, tokens, logprobs, workspace);
}
