/*
 * sinter.h: every operation that Sinter's backends implement, as one C ABI.
 *
 * Conventions
 *   - Every function returns sn_status. On failure sn_last_error() holds one line for the calling thread.
 *   - Operations are stateless and allocate nothing that outlives the call. They run in order on the stream that they
 *     get and may return before they are done; sn_synchronize waits. (The CPU backend finishes before it returns.) What
 *     only a device can see (a token out of range) fails then: see Errors of each operation.
 *   - Tensors are dense and row-major unless a stride is named. Sizes and strides count elements, not bytes.
 *   - "dtype" tensors are SN_F32 or SN_BF16, all of one call alike; statistics, losses, moments and parameter gradients
 *     are fp32. Arithmetic accumulates in fp32.
 *   - Pointers come from sn_allocate of the stream's device. Outputs may not overlap inputs except where it is said.
 *   - Randomness is Philox4x32-10 (Salmon et al. 2011), keyed by (seed, step, tensor) and counted by the element's
 *     index: results do not depend on the number of threads.
 */
#ifndef SINTER_SINTER_H
#define SINTER_SINTER_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define SN_API __declspec(dllexport)
#else
#define SN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Changes with every incompatible change of this header; the Java side checks it at load. */
#define SN_VERSION 7

typedef enum sn_status {
  SN_OK = 0,
  SN_BAD_ARGUMENT = 1,
  SN_BAD_SHAPE = 2,
  SN_BAD_DTYPE = 3,
  SN_OUT_OF_MEMORY = 4,
  SN_NO_DEVICE = 5,
  SN_UNSUPPORTED = 6,
  SN_FAILED = 7
} sn_status;

typedef enum sn_dtype { SN_F32 = 0, SN_BF16 = 1 } sn_dtype;

typedef enum sn_device_kind { SN_CPU = 0, SN_CUDA = 1 } sn_device_kind;

/** A device: its threads or its GPU. Thread-safe. */
typedef struct sn_device sn_device;

/** An ordered queue of operations on a device. To be used by one thread at a time. */
typedef struct sn_stream sn_stream;

/**
 * The key of a random tensor: equal keys give equal numbers. `clock`: null, or device memory with a number that is
 * added to step when the operation runs, so that a recording draws other numbers at each replay.
 */
typedef struct sn_random_key {
  int64_t seed;
  int64_t step;
  int64_t tensor;
  const int64_t *clock;
} sn_random_key;

/** Operations of a stream, recorded once, to be run again as one. */
typedef struct sn_recording sn_recording;

/* ---- library and devices ------------------------------------------------------------------------------------- */

/** SN_VERSION of the library that was loaded. */
SN_API int32_t sn_version(void);

/** The message of the calling thread's last failure: one line, never null, valid until the thread's next failure. */
SN_API const char *sn_last_error(void);

/**
 * Loads the CUDA backend from its file (libsinter_cuda.so), once; sn_device_create(SN_CUDA, ..) needs it. Errors:
 * SN_NO_DEVICE (the file cannot be loaded, or is of another version).
 */
SN_API sn_status sn_load_cuda(const char *library);

/** Counts the devices of a kind. Errors: SN_NO_DEVICE (no CUDA backend was loaded, no driver, none that it can use). */
SN_API sn_status sn_device_count(sn_device_kind kind, int32_t *count);

/**
 * Opens a device. `threads`: worker threads of a CPU device, 0 = one a core that this process may use; a GPU ignores
 * it. `isa`: null or "" = the best that the device has; else, for tests and benchmarks, of a CPU one of "baseline",
 * "avx2", "avx512", "avx512bf16", "amx", of a GPU its own ("sm_90") or "sm_80", the kernels that every GPU has. Errors:
 * SN_NO_DEVICE, SN_BAD_ARGUMENT, SN_UNSUPPORTED (an ISA that this CPU lacks).
 */
SN_API sn_status sn_device_create(sn_device_kind kind, int32_t ordinal, int32_t threads, const char *isa,
                                  sn_device **device);

/** Closes a device. All its streams and memory must have been given back. Null is allowed. */
SN_API void sn_device_destroy(sn_device *device);

/** The instruction set in use ("avx512bf16", "sm_90", ...). Valid as long as the device. */
SN_API const char *sn_device_isa(const sn_device *device);

/** The device's name as its maker gives it. Valid as long as the device. */
SN_API const char *sn_device_name(const sn_device *device);

/** Worker threads of a CPU device, multiprocessors of a GPU. */
SN_API int32_t sn_device_threads(const sn_device *device);

/** Memory of the device in bytes: total and free now. */
SN_API sn_status sn_device_memory(const sn_device *device, int64_t *total, int64_t *available);

SN_API sn_status sn_stream_create(sn_device *device, sn_stream **stream);
SN_API void sn_stream_destroy(sn_stream *stream);

/** Waits for all operations of the stream; returns the first failure among them. */
SN_API sn_status sn_synchronize(sn_stream *stream);

/**
 * Records the stream's operations, up to sn_capture_end, instead of running them. Meanwhile the stream is neither
 * synchronised nor read, nothing is allocated, and sn_write reads its host memory, which sn_allocate_host gave, only at
 * each replay. Errors: SN_UNSUPPORTED (a device that does not record: the CPU).
 */
SN_API sn_status sn_capture_begin(sn_stream *stream);

/** Ends the recording. After a failure in between there is none, and the stream is as it was before. */
SN_API sn_status sn_capture_end(sn_stream *stream, sn_recording **recording);

/** Runs a recording, with the arguments that its operations had. */
SN_API sn_status sn_replay(sn_stream *stream, sn_recording *recording);

/** How many kernels a replay launches; copies are not counted. */
SN_API sn_status sn_recording_kernels(const sn_recording *recording, int64_t *count);

/** Gives a recording back, after all its replays have ended. Null is allowed. */
SN_API void sn_recording_destroy(sn_recording *recording);

/* ---- memory -------------------------------------------------------------------------------------------------- */

/** Allocates `bytes` of device memory, aligned to 256 bytes, zeroed. Errors: SN_OUT_OF_MEMORY. */
SN_API sn_status sn_allocate(sn_device *device, int64_t bytes, void **memory);
SN_API void sn_free(sn_device *device, void *memory);

/** Allocates host memory that the device copies from and to without a detour (pinned memory of a GPU), zeroed. */
SN_API sn_status sn_allocate_host(sn_device *device, int64_t bytes, void **memory);
SN_API void sn_free_host(sn_device *device, void *memory);

/**
 * Copies host memory to the device, in stream order. `host` may be reused on return, unless sn_allocate_host gave it:
 * then after the next sn_synchronize or sn_read.
 */
SN_API sn_status sn_write(sn_stream *stream, void *destination, const void *host, int64_t bytes);

/**
 * Copies device memory to the host and waits for it and for all before it. Where a recording holds it, it waits for
 * nothing: sn_synchronize does. Errors: as of sn_synchronize.
 */
SN_API sn_status sn_read(sn_stream *stream, const void *source, void *host, int64_t bytes);

/** Copies device memory to device memory; the ranges do not overlap. */
SN_API sn_status sn_copy(sn_stream *stream, void *destination, const void *source, int64_t bytes);

/** Sets `bytes` to zero. */
SN_API sn_status sn_zero(sn_stream *stream, void *destination, int64_t bytes);

/* ---- elementwise --------------------------------------------------------------------------------------------- */

/** out[i] = in[i] in another dtype: fp32 to bf16 rounds to nearest even and keeps NaN. */
SN_API sn_status sn_cast(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_dtype to, void *out);

/** out = a + b. `out` may be `a` or `b`. */
SN_API sn_status sn_add(sn_stream *stream, sn_dtype dtype, int64_t count, const void *a, const void *b, void *out);

/** Normal numbers (Box-Muller on Philox) of the given mean and deviation, fp32. */
SN_API sn_status sn_random_normal(sn_stream *stream, int64_t count, float mean, float deviation, sn_random_key key,
                                  float *out);

/** Functions of one number that stand between two products. */
typedef enum sn_activation {
  SN_GELU_TANH = 0, /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))  (Hendrycks and Gimpel 2016, section 2) */
  SN_GELU = 1,      /* 0.5 x (1 + erf(x / sqrt(2)))                     (the same, the exact form)             */
  SN_RELU = 2,      /* max(x, 0); its derivative at 0 is 0                                                      */
  SN_TANH = 3
} sn_activation;

/** out = activation(x). `out` may be `x`. */
SN_API sn_status sn_activation_forward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count,
                                       const void *x, void *out);

/** dx = dout * activation'(x). `dx` may be `dout`. */
SN_API sn_status sn_activation_backward(sn_stream *stream, sn_activation activation, sn_dtype dtype, int64_t count,
                                        const void *x, const void *dout, void *dx);

/**
 * out = residual + keep(x) / (1 - p), where each element is kept with probability 1 - p   (Srivastava et al. 2014).
 * `residual` may be null (zero). The backward pass is the same call on dout with the same key and no residual.
 * `out` may be `x` or `residual`. 0 <= p < 1.
 */
SN_API sn_status sn_dropout(sn_stream *stream, sn_dtype dtype, int64_t count, float p, sn_random_key key, const void *x,
                            const void *residual, void *out);

/* ---- matrix product ------------------------------------------------------------------------------------------ */

typedef enum sn_epilogue {
  SN_EPILOGUE_NONE = 0,            /* c = ab                                                                      */
  SN_EPILOGUE_BIAS = 1,            /* c = ab + bias                                                               */
  SN_EPILOGUE_BIAS_ACTIVATION = 2, /* c = activation(ab + bias); where aux is not null, aux = ab + bias            */
  SN_EPILOGUE_BIAS_RESIDUAL = 3,   /* c = aux + ab + bias; bias may be null                                       */
  SN_EPILOGUE_ACTIVATION_BACKWARD =
      4 /* c = ab * activation'(aux): the input gradient of what stands before a product */
} sn_epilogue;

/**
 * The shape of a (batched) matrix product.
 *   a  [m, k], or [k, m] where transpose_a;  row stride a_stride, batch stride a_batch
 *   b  [k, n], or [n, k] where transpose_b;  row stride b_stride, batch stride b_batch
 *   c  [m, n];                               row stride c_stride, batch stride c_batch
 * a and b are of `dtype`, c of `c_dtype`; bias [n] and aux [m, n] (stride c_stride) are of `dtype`.
 * accumulate: c += the product (c_dtype SN_F32 and SN_EPILOGUE_NONE only).
 * c_dtype is `dtype` or SN_F32.
 * plan: 0 = as the device itself chooses, by the shape alone; else one of sn_gemm_plans.
 */
typedef struct sn_gemm_shape {
  int64_t batch, m, n, k;
  int32_t transpose_a, transpose_b;
  int64_t a_stride, b_stride, c_stride;
  int64_t a_batch, b_batch, c_batch;
  sn_dtype dtype, c_dtype;
  sn_epilogue epilogue;
  sn_activation activation; /* of the epilogues that have one */
  int32_t accumulate;
  int64_t plan;
} sn_gemm_shape;

/**
 * Layer norm of the rows that a product multiplies (sn_layer_norm_forward), in the same call: to the same bits as in
 * two, but few rows need no kernel of their own.
 *   gain [width] of the product's dtype; bias [width], or null
 *   out [rows, width]: receives the rows as they are multiplied; dense, as are the rows before
 */
typedef struct sn_row_norm {
  const void *gain, *bias;
  void *out;
  float epsilon;
} sn_row_norm;

/**
 * Looks for cuBLASLt, whose products are from then on among this device's plans: first in `folder` (null: none), then
 * where the system looks. Its `version` (130100 for 13.1.0), or 0 where there is none. What was found stays.
 */
SN_API sn_status sn_gemm_library(const sn_device *device, const char *folder, int64_t *version);

/**
 * The ways in which the device can compute this shape, the one that it chooses itself, 0, first: `count` of them, of
 * which no more than `capacity` are written. They are the same for both values of accumulate. A plan means the same as
 * long as device, version of this library and version of cuBLASLt are the same.
 */
SN_API sn_status sn_gemm_plans(const sn_device *device, const sn_gemm_shape *shape, int32_t capacity, int64_t *plans,
                               int32_t *count);

/**
 * Bytes of workspace that sn_gemm needs for this shape on this device; 0 is usual for small products. Errors:
 * SN_BAD_ARGUMENT (a plan that is none of this shape's).
 */
SN_API sn_status sn_gemm_workspace(const sn_device *device, const sn_gemm_shape *shape, int64_t *bytes);

/**
 * c = epilogue(op(a) op(b)), accumulated in fp32. `c` may be `aux` (residual in place).
 * The order of the sum over k depends on the shape and its plan alone, never on the number of threads; on a GPU of
 * compute capability 9.0 also on whether all operands begin at multiples of 16 bytes, which it is faster with. Plans of
 * cuBLASLt want that.
 *   norm: null, or what a's rows go through first; batch is then 1, and a dense and not transposed
 * Errors: SN_BAD_SHAPE, SN_BAD_DTYPE, SN_BAD_ARGUMENT (a missing bias, aux or workspace; a plan that is none of the
 * shape's).
 */
SN_API sn_status sn_gemm(sn_stream *stream, const sn_gemm_shape *shape, const sn_row_norm *norm, const void *a,
                         const void *b, void *c, const void *bias, void *aux, void *workspace);

/**
 * Numbers of 8 bits (Micikevicius et al. 2022): of 4 bits of exponent, up to 448, without infinities; of 5, up to
 * 57344.
 */
typedef enum sn_float8 { SN_E4M3 = 0, SN_E5M2 = 1 } sn_float8;

/**
 * out = in / scale[0], to nearest even, where scale[0] is such that the largest number of `in` becomes the type's
 * largest, and 1 where all are 0. scale[1] = the largest |in[i]|. NaN stays NaN. `from`: the dtype of `in`.
 */
SN_API sn_status sn_cast_float8(sn_stream *stream, int64_t count, sn_dtype from, const void *in, sn_float8 to,
                                void *out, float *scale);

/**
 * sn_gemm of a and b of 8 bits: c = epilogue(a_scale[0] b_scale[0] op(a) op(b)). Of the shape transpose_a is 0,
 * transpose_b 1, a_stride, b_stride and their batch strides count bytes, dtype SN_BF16 is that of bias and aux, plan 0.
 * Sums keep about 14 bits over 128 of k, and are added in fp32 beyond. It needs no workspace. Errors: those of sn_gemm;
 * SN_UNSUPPORTED (a GPU that is not of compute capability 9.0; there also rows, of any operand, that do not begin at
 * multiples of 16 bytes, and an fp32 c with an epilogue that reads or writes aux).
 */
SN_API sn_status sn_gemm_float8(sn_stream *stream, const sn_gemm_shape *shape, sn_float8 a_type, const void *a,
                                const float *a_scale, sn_float8 b_type, const void *b, const float *b_scale, void *c,
                                const void *bias, void *aux);

/**
 * dbias[j] = sum over rows i of dout[i, j], plus dbias[j] where accumulate. dout [rows, columns] dtype with the row
 * stride `stride`, dbias fp32.
 */
SN_API sn_status sn_bias_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                                  const void *dout, int32_t accumulate, float *dbias);

/* ---- low-rank updates ---------------------------------------------------------------------------------------- */

/** out[i, j] = factor * x[i, j] * scale[j]. x, out [rows, columns], scale [columns] dtype; null: ones. `out` may be
 * `x`. */
SN_API sn_status sn_scale_columns(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns, float factor,
                                  const void *x, const void *scale, void *out);

/**
 * dscale[j] = factor * sum over rows i of x[i, j] * dout[i, j], in a fixed order; plus dscale[j] where accumulate. x,
 * dout dtype, dscale fp32. (The gradient of x is sn_scale_columns of dout.)
 */
SN_API sn_status sn_scale_columns_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t columns,
                                           float factor, const void *x, const void *dout, int32_t accumulate,
                                           float *dscale);

/** The shape of sn_lora. */
typedef struct sn_lora_shape {
  int64_t rows, in, out, rank, adapters;
  int64_t x_stride, y_stride; /* in elements */
  sn_dtype dtype;             /* of x, y, a and b */
} sn_lora_shape;

/** Bytes of workspace for sn_lora. */
SN_API sn_status sn_lora_workspace(const sn_device *device, const sn_lora_shape *shape, int64_t *bytes);

/**
 * y[i] += (x[i] a[w[i]]^T) b[w[i]]: each row the low-rank update of an adapter of its own   (Hu et al. 2022, eq. 3).
 *   which [rows] int32, w above: 0 <= w < adapters, or -1: the row stays as it is
 *   x [rows, in]; a [adapters, rank, in]; b [adapters, rank, out]; y [rows, out]; sums in fp32
 * A row's bits depend on nothing of other rows, nor on how many there are. An adapter out of range: as a token in
 * sn_embedding_forward.
 */
SN_API sn_status sn_lora(sn_stream *stream, const sn_lora_shape *shape, const int32_t *which, const void *x,
                         const void *a, const void *b, void *y, void *workspace);

/* ---- packed weights ------------------------------------------------------------------------------------------ */

/**
 * How weights that no longer change are held: packed for one way of reading, the same on all devices, so that a file
 * can hold it. Outputs come in panels of 16, `in` is padded to a multiple of 64; what is padded counts as zero.
 *
 *   SN_WEIGHT_F32: [panel][in][16].
 *
 *   SN_WEIGHT_BF16: [panel][in / 2][16][2], neighbours along `in` side by side.
 *
 *   SN_WEIGHT_Q8: [panel][in / 64] of { bf16 scales[2][16]; uint8 [2][8][16][4] }, two blocks of 32 along `in`, each
 * with a scale an output; weight = scale * (byte - 128), byte 1 to 255.
 *
 *   SN_WEIGHT_Q4: [panel][in / 64] of { bf16 scales[2][16]; uint8 [2][4][16][4] }, the low half of byte [g][o][i] is
 *   number 8 g + i of its block, the high half number 8 g + 4 + i; weight = scale * (half - 8).
 */
typedef enum sn_weight_format {
  SN_WEIGHT_F32 = 0,
  SN_WEIGHT_BF16 = 1,
  SN_WEIGHT_Q8 = 2,
  SN_WEIGHT_Q4 = 3
} sn_weight_format;

/** Bytes of packed weights [in, out]; a multiple of 64. */
SN_API sn_status sn_pack_bytes(sn_weight_format format, int64_t in, int64_t out, int64_t *bytes);

/**
 * Packs weights of `dtype`, [in, out], or [out, in] where out_by_in. `packed` is aligned to 64 bytes. To 8 bits: scale
 * = the largest magnitude of a block / 127; to 4: the scale, of a few near the largest magnitude / 8 or / 7, with the
 * least squared error. Weights that are not finite are SN_BAD_ARGUMENT: from the call (CPU) or the next sn_synchronize
 * or sn_read (GPU).
 */
SN_API sn_status sn_pack(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out,
                         int32_t out_by_in, const void *weights, void *packed);

/**
 * rows[i] = the weights of output indices[i], [count, in] dtype: a row of a token table that is also the output matrix.
 * Indices out of range: as a token in sn_embedding_forward; -1 gives a zero row.
 */
SN_API sn_status sn_packed_rows(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t in, int64_t out,
                                int64_t count, const int32_t *indices, const void *packed, void *rows);

/**
 * The shape of y = epilogue(x w + bias): x [rows, in] (row stride x_stride), bias [out] and aux of `dtype`; y [rows,
 * out] (row stride y_stride) of `y_dtype`, which is `dtype` or SN_F32. Epilogues as of sn_gemm, up to
 * SN_EPILOGUE_BIAS_RESIDUAL, whose aux has the stride y_stride; SN_EPILOGUE_BIAS_ACTIVATION keeps no aux.
 */
typedef struct sn_linear_shape {
  int64_t rows, in, out;
  int64_t x_stride, y_stride;
  sn_weight_format format;
  sn_dtype dtype, y_dtype;
  sn_epilogue epilogue;
  sn_activation activation;
} sn_linear_shape;

/** Bytes of workspace for sn_linear. */
SN_API sn_status sn_linear_workspace(const sn_device *device, const sn_linear_shape *shape, int64_t *bytes);

/**
 * y = epilogue(x w + bias) with packed weights, for any number of rows: a row's bits do not depend on the others nor on
 * how many there are. x is multiplied as the weights are held: SN_WEIGHT_F32 as fp32; SN_WEIGHT_BF16 rounded to bf16;
 * SN_WEIGHT_Q8 and SN_WEIGHT_Q4 in blocks of 32 rounded to 8 bits (scale = the block's largest magnitude / 127, to
 * nearest), whose products are summed exactly and scaled; sums over blocks in fp32. `y` may be `aux`.
 *   norm: null, or what x's rows go through first; x is then dense
 */
SN_API sn_status sn_linear(sn_stream *stream, const sn_linear_shape *shape, const sn_row_norm *norm, const void *x,
                           const void *packed, void *y, const void *bias, const void *aux, void *workspace);

/* ---- embedding ----------------------------------------------------------------------------------------------- */

/**
 * out[b, t] = scale * token_table[tokens[b, t]] + position_table[offsets[b] + t].
 *   tokens [batch, length] int32, each 0 <= token < vocabulary; offsets [batch] int32, or null for zeros
 *   token_table [vocabulary, width], position_table [positions, width] or null; out [batch, length, width]: all dtype
 * A token or position out of range reads as a zero row and makes the call fail with SN_BAD_ARGUMENT (CPU) or the next
 * sn_synchronize or sn_read (GPU).
 */
SN_API sn_status sn_embedding_forward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                                      int64_t vocabulary, int64_t positions, float scale, const int32_t *tokens,
                                      const int32_t *offsets, const void *token_table, const void *position_table,
                                      void *out);

/**
 * The same of a token table that is packed, as the output matrix [width, vocabulary] that it is too.
 */
SN_API sn_status sn_packed_embedding(sn_stream *stream, sn_weight_format format, sn_dtype dtype, int64_t batch,
                                     int64_t length, int64_t width, int64_t vocabulary, int64_t positions, float scale,
                                     const int32_t *tokens, const int32_t *offsets, const void *packed,
                                     const void *position_table, void *out);

/** Bytes of workspace for sn_embedding_backward; 0 on a CPU. */
SN_API sn_status sn_embedding_backward_workspace(const sn_device *device, int64_t batch, int64_t length,
                                                 int64_t *bytes);

/**
 * Adds the gradient of sn_embedding_forward (offsets zero) to fp32 tables, in an order that depends on the tokens
 * alone: dtoken_table[tokens[b, t]] += scale * dout[b, t]; dposition_table[t] += sum over b of dout[b, t] (null: none).
 * accumulate_positions 0: dposition_table is overwritten, rows past `length` with zeros. A token out of range is left
 * out of dtoken_table (null: none), and so is `padding` (-1: no token is).
 */
SN_API sn_status sn_embedding_backward(sn_stream *stream, sn_dtype dtype, int64_t batch, int64_t length, int64_t width,
                                       int64_t vocabulary, int64_t positions, float scale, int32_t padding,
                                       const int32_t *tokens, const void *dout, int32_t accumulate_positions,
                                       float *dtoken_table, float *dposition_table, void *workspace);

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/**
 * out[i] = in[indices[i]]: chosen rows. in [rows, width], out [count, width] dtype; indices [count] int32; -1 gives a
 * zero row. Other indices out of range: as a token in sn_embedding_forward.
 */
SN_API sn_status sn_gather_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                                   const int32_t *indices, const void *in, void *out);

/**
 * The gradient of sn_gather_forward: din [rows, width] is overwritten; din[indices[i]] = dout[i], other rows zero. No
 * row may be chosen twice: of equal indices one is taken, which is not said. Indices out of range are left out.
 */
SN_API sn_status sn_gather_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, int64_t count,
                                    const int32_t *indices, const void *dout, void *din);

/* ---- layer norm ---------------------------------------------------------------------------------------------- */

/**
 * out = (s - mean) * rstd * gain + bias, with s = x + residual over each row   (Ba et al. 2016, eq. 4).
 *   x, residual (null: none), sum, out [rows, width] dtype; gain, bias [width] dtype (bias null: none)
 *   mean, rstd [rows] fp32: kept for the backward pass; null in inference
 *   sum: receives s where it is not null; may be x or residual
 * The variance is biased (divided by width); rstd = 1 / sqrt(variance + epsilon).
 */
SN_API sn_status sn_layer_norm_forward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, float epsilon,
                                       const void *x, const void *residual, const void *gain, const void *bias,
                                       void *sum, void *out, float *mean, float *rstd);

/** Bytes of workspace for sn_layer_norm_backward. */
SN_API sn_status sn_layer_norm_backward_workspace(const sn_device *device, int64_t rows, int64_t width, int64_t *bytes);

/**
 * dx = the input gradient of layer norm at s, plus dresidual where it is not null (the gradient that reaches s on other
 * ways). `dx` may be `dresidual` or `dout`. dgain, dbias [width] fp32 (null: not wanted) are added to where accumulate;
 * so is dshift [width] fp32 (null: not wanted): the sum over all rows of dx as it was before rounding, which is the
 * gradient of a bias that was added to s.
 */
SN_API sn_status sn_layer_norm_backward(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t width, const void *s,
                                        const void *gain, const float *mean, const float *rstd, const void *dout,
                                        const void *dresidual, int32_t accumulate, void *dx, float *dgain, float *dbias,
                                        float *dshift, void *workspace);

/* ---- attention ----------------------------------------------------------------------------------------------- */

/**
 * The shape of attention. Element (b, t, h, d) of q is at b * queries * q_stride + t * q_stride + h * head_size + d, so
 * q, k and v may be columns of one [batch, t, 3 * heads * head_size] matrix; k and v alike with keys and kv_heads.
 * out and dout have the row stride out_stride; dq, dk, dv those of q, k, v.
 * Row i sees key j where (not causal, or j <= i + keys - queries) and (window == 0, or j > i + keys - queries -
 * window), of the first key_lengths[b] keys: the others are padding; and none before key_starts[b, i], which never
 * falls along a sequence's rows: so sequences that are packed one after the other do not see each other (Krell et al.
 * 2021). A row that sees nothing gives zeros. scale 0 means 1 / sqrt(head_size). 0 <= dropout < 1 drops probabilities.
 */
typedef struct sn_attention_shape {
  int64_t batch, queries, keys, heads, kv_heads, head_size;
  int64_t q_stride, k_stride, v_stride, out_stride;
  sn_dtype dtype;
  int32_t causal;
  int64_t window;
  const int32_t *key_lengths; /* [batch] in device memory, 0 to keys each; null: all keys. Not causal, no window. */
  const int32_t *key_starts;  /* [batch, queries] in device memory, 0 to keys each; null: zeros. Causal. */
  float scale;
  float dropout;
  sn_random_key key;
} sn_attention_shape;

/**
 * out = softmax(scale q k^T + mask) v without the queries x keys matrix (Vaswani et al. 2017, eq. 1; Dao 2023, alg. 1).
 *   lse [batch, heads, queries] fp32: log-sum-exp of each row, kept for the backward pass; null in inference
 */
SN_API sn_status sn_attention_forward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                                      const void *v, void *out, float *lse);

/** Bytes of workspace for sn_attention_backward. */
SN_API sn_status sn_attention_backward_workspace(const sn_device *device, const sn_attention_shape *shape,
                                                 int64_t *bytes);

/** dq, dk, dv of sn_attention_forward (Dao 2023, algorithm 2); they are overwritten. Padded k and v are finite. */
SN_API sn_status sn_attention_backward(sn_stream *stream, const sn_attention_shape *shape, const void *q, const void *k,
                                       const void *v, const void *out, const float *lse, const void *dout, void *dq,
                                       void *dk, void *dv, void *workspace);

/**
 * A key/value cache: keys and values [batch, kv_heads, capacity, head_size] each; lengths [batch] int32: positions that
 * are filled, equal or not between sequences.
 */
typedef struct sn_cache_shape {
  int64_t batch, queries, heads, kv_heads, head_size, capacity;
  int64_t q_stride, k_stride, v_stride, out_stride;
  sn_dtype dtype;
  int64_t window;
  float scale;
} sn_cache_shape;

/**
 * Writes k, v [batch, queries, kv_heads, head_size] (strides as in attention) behind each sequence's length.
 * lengths[b] + queries <= capacity, else SN_BAD_ARGUMENT and nothing is written past the cache: from the call (CPU) or
 * the next sn_synchronize or sn_read (GPU). `lengths` is not changed.
 */
SN_API sn_status sn_cache_append(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths, const void *k,
                                 const void *v, void *key_cache, void *value_cache);

/** Bytes of workspace for sn_attention_decode; 0 on some devices and for some shapes. */
SN_API sn_status sn_attention_decode_workspace(const sn_device *device, const sn_cache_shape *shape, int64_t *bytes);

/**
 * Attention of new queries over the cache: query i of sequence b sees keys j <= lengths[b] + i. q, out as in attention.
 * A sequence's bits do not depend on the others of its batch. Where lengths[b] + queries > capacity: as
 * sn_cache_append; nothing of that sequence is read or written.
 *   k, v: the queries' own, which the call first does with as sn_cache_append; null where that came before
 *   workspace: zeroed before its first use (sn_allocate gives it so), then used by nothing but this operation, one call
 *   after another: each leaves it ready for the next, whose shape may be another that needs no more bytes. Null where
 *   that is 0.
 */
SN_API sn_status sn_attention_decode(sn_stream *stream, const sn_cache_shape *shape, const int32_t *lengths,
                                     const void *q, const void *k, const void *v, void *key_cache, void *value_cache,
                                     void *out, void *workspace);

/**
 * A cache of keys and values in pages that sequences share. keys and values [pages, kv_heads, page_size, head_size] of
 * cache_dtype each; tables [sequences, table_stride] int32 in device memory: position p of a sequence lies in page
 * tables[sequence, p / page_size] at p % page_size. New rows need not be of one sequence: slots [rows] int32 has each
 * row's sequence, or -1 for none (padding), positions [rows] int32 its position. Rows of one sequence that stand
 * together in the order of their positions are computed faster.
 */
typedef struct sn_paged_shape {
  int64_t rows, sequences, heads, kv_heads, head_size;
  int64_t pages, page_size, table_stride;
  int64_t q_stride, k_stride, v_stride, out_stride;
  sn_dtype dtype, cache_dtype; /* of q, k, v and out; of the pages: the same, or bf16 */
  int64_t window;
  float scale;
} sn_paged_shape;

/**
 * Writes k, v [rows, kv_heads, head_size] of `dtype` (strides as in attention) to their places. A sequence, position or
 * page out of range: SN_BAD_ARGUMENT, and nothing is written for that row: from the call (CPU) or the next
 * sn_synchronize or sn_read (GPU).
 */
SN_API sn_status sn_paged_append(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                                 const int32_t *positions, const int32_t *tables, const void *k, const void *v,
                                 void *key_pages, void *value_pages);

/** Bytes of workspace for sn_paged_attention; 0 on some devices and for some shapes. */
SN_API sn_status sn_paged_attention_workspace(const sn_device *device, const sn_paged_shape *shape, int64_t *bytes);

/**
 * Attention of each row over the positions of its sequence up to its own: row i sees p <= positions[i], and p >
 * positions[i] - window where there is a window. q, out as in attention. A row without a sequence gives zeros; what is
 * out of range as in sn_paged_append, and a zero row. A row's bits do not depend on the other rows, nor on the pages'
 * numbers (Kwon et al. 2023, section 4.1).
 *   k, v: the rows' own, which the call first does with as sn_paged_append; null where that came before
 *   workspace: as of sn_attention_decode
 */
SN_API sn_status sn_paged_attention(sn_stream *stream, const sn_paged_shape *shape, const int32_t *slots,
                                    const int32_t *positions, const int32_t *tables, const void *q, const void *k,
                                    const void *v, void *key_pages, void *value_pages, void *out, void *workspace);

/* ---- loss ---------------------------------------------------------------------------------------------------- */

/**
 * losses[i] = weights[i] * ((1 - smoothing) nll(targets[i]) + smoothing * mean over all columns j of nll(j)), fp32,
 * with nll(j) = -log softmax(logits[i])[j]   (Szegedy et al. 2016, section 7). A target of -100 gives 0 and no
 * gradient. logits [rows, vocabulary] dtype with the row stride `stride`; targets [rows] int32 weights [rows] fp32;
 * null: ones. 0 <= smoothing < 1 gradient_scale != 0: logits are overwritten by gradient_scale * the gradient of
 * losses[i], columns past `vocabulary` by 0.
 */
SN_API sn_status sn_cross_entropy(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                                  float smoothing, void *logits, const int32_t *targets, const float *weights,
                                  float gradient_scale, float *losses);

typedef enum sn_error {
  SN_SQUARED_ERROR = 0,       /* (x - target)^2                                                                  */
  SN_BINARY_CROSS_ENTROPY = 1 /* of the logit x and the probability `target`: log(1 + e^x) - target x            */
} sn_error;

/**
 * losses[i] = weights[i] * error(x[i], targets[i]), each element by itself, fp32.
 *   x [count] dtype; targets, weights [count] fp32 (weights null: ones)
 * gradient_scale != 0: x is overwritten by gradient_scale * the gradient of losses[i].
 */
SN_API sn_status sn_element_loss(sn_stream *stream, sn_error error, sn_dtype dtype, int64_t count, void *x,
                                 const float *targets, const float *weights, float gradient_scale, float *losses);

/** Bytes of workspace for sn_sum and sn_global_norm of so many elements; 0 on a CPU. */
SN_API sn_status sn_reduce_workspace(const sn_device *device, int64_t count, int64_t *bytes);

/** out[0] = factor * sum of x, in a fixed order; plus out[0] where accumulate. fp32. */
SN_API sn_status sn_sum(sn_stream *stream, int64_t count, float factor, const float *x, int32_t accumulate, float *out,
                        void *workspace);

/* ---- optimizer ----------------------------------------------------------------------------------------------- */

/** out[0] = square root of the sum of squares of all of x (fp32), in a fixed order. */
SN_API sn_status sn_global_norm(sn_stream *stream, int64_t count, const float *x, float *out, void *workspace);

/**
 * AdamW's scalars for one step (Loshchilov and Hutter 2019, algorithm 2). The step counts from 1, the clock's share
 * included. What the pointers point to is in device memory and read when the operation runs, so that a recording
 * follows a schedule.
 */
typedef struct sn_adamw_step {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
  float clip; /* 0: none; else gradients are scaled by min(1, clip / norm[0]) */
  int64_t step;
  int64_t seed;         /* of the stochastic rounding */
  const int64_t *clock; /* added to step; null: nothing */
  const float *rate;    /* learning_rate is multiplied by it; null: by nothing */
  const float *loss;    /* if it is not finite, everything is left as it was; null: none is looked at */
} sn_adamw_step;

/**
 * One update of all parameters, which lie in one flat array, as do gradients and moments.
 *   master, gradient, m, v [count] fp32; parameters [count] bf16 copy of master, or null
 *   decay_mask [(count + 255) / 256] uint8: whether weight decay applies to that block of 256 elements; null: none does
 *   norm [1]: the gradients' global norm; null, with clip 0, where none is known. If it is not finite, everything is
 * left as it was. stochastic 1: `parameters` are rounded stochastically by Philox(seed, step, index), else to nearest
 * even.
 */
SN_API sn_status sn_adamw(sn_stream *stream, const sn_adamw_step *step, int64_t count, const float *gradient,
                          const float *norm, const uint8_t *decay_mask, float *master, float *m, float *v,
                          int32_t stochastic, void *parameters);

/* ---- sampling ------------------------------------------------------------------------------------------------ */

/** How a row's next token is chosen; the processors act in the order of the fields. Equal seeds and steps draw alike.
 */
typedef struct sn_sampling {
  int64_t seed, step;       /* key the draw: Philox(seed, step, 0)                                                 */
  float repetition_penalty; /* > 0; 1: none. Ids in the history: score < 0 ? score * p : score / p  (Keskar et al. 2019)
                             */
  float temperature;        /* 0: greedy (the lowest id among equals) */
  int32_t top_k;            /* 0: none; ties with the k-th stay */
  float top_p;              /* 1: none; the token that crosses p stays  (Holtzman et al. 2020) */
  float min_p;              /* 0: none; drops p < min_p * p_max */
  int32_t history;          /* the row of `history` that holds what came before */
  int32_t history_length;   /* how many of its tokens count */
  int32_t reserved;         /* makes the size a multiple of 8; not read */
} sn_sampling;

/** Bytes of workspace for sn_sample. */
SN_API sn_status sn_sample_workspace(const sn_device *device, int64_t rows, int64_t vocabulary, int64_t *bytes);

/**
 * Chooses one token a row. A row's token depends on nothing of other rows.
 *   logits [rows, vocabulary] dtype with the row stride `stride`, unchanged
 *   samplings [rows] in device memory, so that a recording can be run with others
 *   history [histories, history_stride] int32; null, with histories 0, where no row has a penalty. A row whose history
 *   is not there, or longer than the stride, has none.
 *   tokens [rows] int32; logprobs [rows] fp32: log softmax of the unprocessed logits at the token; null: not wanted
 * A row without a finite logit gives token -1 and logprob NaN.
 */
SN_API sn_status sn_sample(sn_stream *stream, sn_dtype dtype, int64_t rows, int64_t vocabulary, int64_t stride,
                           const void *logits, const sn_sampling *samplings, int64_t histories, int64_t history_stride,
                           const int32_t *history, int32_t *tokens, float *logprobs, void *workspace);

#ifdef __cplusplus
}
#endif

#endif
