"""Sinter's C ABI for Python's ctypes, as far as bench/gpu/bench.py measures it."""
import ctypes
from ctypes import c_char_p, c_float, c_int32, c_int64, c_void_p

F32, BF16 = 0, 1
NONE, BIAS, BIAS_ACTIVATION, BIAS_RESIDUAL, ACTIVATION_BACKWARD = range(5)
CUDA = 1


class RandomKey(ctypes.Structure):
    _fields_ = [("seed", c_int64), ("step", c_int64), ("tensor", c_int64), ("clock", c_void_p)]


class GemmShape(ctypes.Structure):
    _fields_ = ([(name, c_int64) for name in ("batch", "m", "n", "k")] + [("transpose_a", c_int32), ("transpose_b", c_int32)]
                + [(name, c_int64) for name in ("a_stride", "b_stride", "c_stride", "a_batch", "b_batch", "c_batch")]
                + [(name, c_int32) for name in ("dtype", "c_dtype", "epilogue", "activation", "accumulate")]
                + [("plan", c_int64)])


class AttentionShape(ctypes.Structure):
    _fields_ = ([(name, c_int64) for name in ("batch", "queries", "keys", "heads", "kv_heads", "head_size", "q_stride",
                                              "k_stride", "v_stride", "out_stride")]
                + [("dtype", c_int32), ("causal", c_int32), ("window", c_int64), ("key_lengths", c_void_p),
                   ("scale", c_float), ("dropout", c_float),
                   ("key", RandomKey)])


class CacheShape(ctypes.Structure):
    _fields_ = ([(name, c_int64) for name in ("batch", "queries", "heads", "kv_heads", "head_size", "capacity", "q_stride",
                                              "k_stride", "v_stride", "out_stride")]
                + [("dtype", c_int32), ("window", c_int64), ("scale", c_float)])


class AdamwStep(ctypes.Structure):
    _fields_ = [(name, c_float) for name in ("learning_rate", "beta1", "beta2", "epsilon", "weight_decay", "clip")] + [
        ("step", c_int64), ("seed", c_int64), ("clock", c_void_p), ("rate", c_void_p), ("loss", c_void_p)]


class Sampling(ctypes.Structure):
    _fields_ = [("repetition_penalty", c_float), ("temperature", c_float), ("top_k", c_int64), ("top_p", c_float),
                ("min_p", c_float)]


class Device:
    """A GPU with one stream; every call is checked."""

    def __init__(self, library, cuda):
        self.c = ctypes.CDLL(str(library))
        self.c.sn_last_error.restype = c_char_p
        self.c.sn_device_name.restype = self.c.sn_device_isa.restype = c_char_p
        self.c.sn_device_name.argtypes = self.c.sn_device_isa.argtypes = [c_void_p]
        self.device, self.stream = c_void_p(), c_void_p()
        self.check(self.c.sn_load_cuda(str(cuda).encode()))
        self.check(self.c.sn_device_create(CUDA, 0, 0, None, ctypes.byref(self.device)))
        self.check(self.c.sn_stream_create(self.device, ctypes.byref(self.stream)))
        self.name = self.c.sn_device_name(self.device).decode()
        self.isa = self.c.sn_device_isa(self.device).decode()
        self.memory, self.tensors = [], 0

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.c.sn_last_error().decode())

    def __getattr__(self, operation):
        """device.gemm(...) is sn_gemm(stream, ...): whole numbers go as int64, floats as fp32, structures by address."""
        function = getattr(self.c, "sn_" + operation)

        def call(*arguments):
            self.check(function(self.stream, *map(convert, arguments)))

        return call

    def ask(self, question, *arguments):
        """The bytes of workspace that an operation needs."""
        count = c_int64()
        self.check(getattr(self.c, "sn_" + question)(self.device, *map(convert, arguments), ctypes.byref(count)))
        return self.allocate(count.value)

    def allocate(self, size):
        memory = c_void_p()
        self.check(self.c.sn_allocate(self.device, c_int64(max(size, 256)), ctypes.byref(memory)))
        self.memory.append(memory)
        return memory

    def random(self, dtype, count):
        """Normal numbers."""
        self.tensors += 1
        numbers = self.allocate(4 * count)
        self.check(self.c.sn_random_normal(self.stream, c_int64(count), c_float(0), c_float(1), RandomKey(1, 0, self.tensors),
                                           numbers))
        if dtype == F32:
            return numbers
        narrow = self.allocate(2 * count)
        self.check(self.c.sn_cast(self.stream, c_int64(count), F32, numbers, BF16, narrow))
        self.synchronize()
        self.c.sn_free(self.device, self.memory.pop(-2))
        return narrow

    def write(self, values):
        array = (c_int32 * len(values))(*values)
        memory = self.allocate(4 * len(values))
        self.check(self.c.sn_write(self.stream, memory, array, c_int64(4 * len(values))))
        return memory

    def release(self):
        self.synchronize()
        for memory in self.memory:
            self.c.sn_free(self.device, memory)
        self.memory = []

    def record(self, calls):
        """The calls as one recording; returns what replays it and waits."""
        recording = c_void_p()
        self.check(self.c.sn_capture_begin(self.stream))
        for call in calls:
            call()
        self.check(self.c.sn_capture_end(self.stream, ctypes.byref(recording)))

        def replay():
            self.check(self.c.sn_replay(self.stream, recording))
            self.check(self.c.sn_synchronize(self.stream))

        replay.destroy = lambda: self.c.sn_recording_destroy(recording)
        return replay


class Enum(int):
    """A whole number that goes as int32: dtypes and flags."""


def convert(argument):
    if isinstance(argument, Enum):
        return c_int32(argument)
    if isinstance(argument, int):
        return c_int64(argument)
    if isinstance(argument, float):
        return c_float(argument)
    if isinstance(argument, ctypes.Structure) and not isinstance(argument, RandomKey):
        return ctypes.byref(argument)
    return argument
