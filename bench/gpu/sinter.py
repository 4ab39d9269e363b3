"""Sinter's C ABI for Python's ctypes, as its header says it.

    device = Device(library, cuda)
    device.gemm(shape=sinter.gemm_shape(batch=1, m=m, ...), a=a, b=b, c=c)

An operation takes the arguments of its declaration by their names; what is not named is null or 0, and so in structures.
"""
import ctypes
import pathlib
import re
import types

HEADER = pathlib.Path(__file__).resolve().parents[2] / "native/include/sinter/sinter.h"
SCALARS = {"int64_t": ctypes.c_int64, "int32_t": ctypes.c_int32, "float": ctypes.c_float, "double": ctypes.c_double,
           "uint8_t": ctypes.c_uint8}


class Structure(ctypes.Structure):
    """A structure whose fields are given by name; in_ is one that is a word of Python."""

    def __init__(self, **fields):
        super().__init__(**{name.rstrip("_"): value for name, value in fields.items()})


class Header:
    """Enumerators, structures and functions of the header."""

    def __init__(self, path=HEADER):
        text = re.sub(r"/\*.*?\*/|^#.*?$", "", path.read_text(), flags=re.S | re.M)
        self.types, self.structures, self.enumerators, self.functions = dict(SCALARS), {}, {}, {}
        for body, name in re.findall(r"typedef enum \w+ \{(.*?)\} (\w+);", text, re.S):
            self.types[name] = ctypes.c_int32
            self.enumerators.update((word, int(value)) for word, value in re.findall(r"(\w+) =\s*(\d+)", body))
        for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, re.S):
            fields = [field for line in body.split(";") if line.strip() for field in self.fields(line)]
            self.types[name] = self.structures[name] = type(name, (Structure,), {"_fields_": fields})
        for name, parameters in re.findall(r"SN_API [\w ]+?\*?sn_(\w+)\((.*?)\);", text, re.S):
            self.functions[name] = [field for line in parameters.split(",") if line.strip() != "void"
                                    for field in self.fields(line)]

    def fields(self, declaration):
        """Of "const sn_dtype a, *b": ("a", int32), ("b", pointer)."""
        words = re.sub(r"\b(const|struct)\b", "", " ".join(declaration.split())).strip()
        kind, names = re.match(r"(\w+) ?(.*)", words).groups()
        for name in names.split(","):
            pointer = "*" in name
            yield name.replace("*", "").strip(), ctypes.c_void_p if pointer else self.types[kind]


header = Header()


def __getattr__(name):
    """sinter.BF16 is the header's SN_BF16, sinter.gemm_shape its sn_gemm_shape."""
    if "SN_" + name in header.enumerators:
        return header.enumerators["SN_" + name]
    if "sn_" + name in header.structures:
        return header.structures["sn_" + name]
    raise AttributeError(name)


class Device:
    """A GPU with one stream; every call is checked."""

    def __init__(self, library, cuda, isa=None):
        self.c = ctypes.CDLL(str(library))
        self.c.sn_last_error.restype = ctypes.c_char_p
        self.c.sn_device_name.restype = self.c.sn_device_isa.restype = ctypes.c_char_p
        self.c.sn_device_name.argtypes = self.c.sn_device_isa.argtypes = [ctypes.c_void_p]
        self.device, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.c.sn_load_cuda(str(cuda).encode()))
        self.check(self.c.sn_device_create(header.enumerators["SN_CUDA"], 0, 0, isa and isa.encode(), ctypes.byref(self.device)))
        self.check(self.c.sn_stream_create(self.device, ctypes.byref(self.stream)))
        self.name = self.c.sn_device_name(self.device).decode()
        self.isa = self.c.sn_device_isa(self.device).decode()
        self.blocks, self.tensors = {}, 0

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.c.sn_last_error().decode())

    def __getattr__(self, operation):
        """device.gemm(...) is sn_gemm(stream, ...); questions as gemm_workspace are asked of the device."""
        if operation not in header.functions:
            raise AttributeError(operation)
        function, (owner, *parameters) = getattr(self.c, "sn_" + operation), header.functions[operation]
        known = {name for name, _ in parameters}

        def call(**named):
            arguments = {name.rstrip("_"): value for name, value in named.items()}  # from_ and in_ are words of Python
            if not arguments.keys() <= known:
                raise TypeError(f"sn_{operation} has no {', '.join(arguments.keys() - known)}")
            kept = [convert(kind, arguments.get(name)) for name, kind in parameters]
            self.check(function(self.stream if owner[0] == "stream" else self.device, *kept))

        return call

    # ---- memory ----

    def allocate(self, size):
        """Zeroed memory, until it is given back."""
        memory = ctypes.c_void_p()
        self.check(self.c.sn_allocate(self.device, ctypes.c_int64(max(size, 256)), ctypes.byref(memory)))
        self.blocks[memory.value] = memory
        return memory.value

    def free(self, address):
        self.synchronize()
        self.c.sn_free(self.device, self.blocks.pop(address))

    def release(self):
        """Gives all back."""
        for address in list(self.blocks):
            self.free(address)

    def workspace(self, operation, **arguments):
        """Memory of the bytes that an operation needs."""
        count = ctypes.c_int64()
        getattr(self, operation + "_workspace")(**arguments, bytes=ctypes.addressof(count))
        return self.allocate(count.value)

    def pack_bytes(self, form, inner, outer):
        """Of packed weights."""
        count = ctypes.c_int64()
        self.check(self.c.sn_pack_bytes(form, ctypes.c_int64(inner), ctypes.c_int64(outer), ctypes.byref(count)))
        return count.value

    def random(self, dtype, count, deviation=1.0):
        """Normal numbers."""
        self.tensors += 1
        numbers = self.allocate(4 * count)
        key = header.structures["sn_random_key"](seed=1, tensor=self.tensors)
        self.random_normal(count=count, deviation=deviation, key=key, out=numbers)
        if dtype == header.enumerators["SN_F32"]:
            return numbers
        narrow = self.allocate(2 * count)
        self.cast(count=count, from_=header.enumerators["SN_F32"], in_=numbers, to=dtype, out=narrow)
        self.free(numbers)
        return narrow

    def write_bytes(self, data, memory=None):
        memory = memory or self.allocate(len(data))
        self.write(destination=memory, host=ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value, bytes=len(data))
        self.synchronize()
        return memory

    def write_ints(self, values):
        return self.write_bytes(bytes((ctypes.c_int32 * len(values))(*values)))

    def write_floats(self, address, values):
        self.write_bytes(bytes((ctypes.c_float * len(values))(*values)), address)

    def floats(self, address, count):
        array = (ctypes.c_float * count)()
        self.read(source=address, host=ctypes.addressof(array), bytes=4 * count)
        return list(array)

    def synchronize(self):
        self.check(self.c.sn_synchronize(self.stream))

    # ---- plans and recordings ----

    def plans(self, shape):
        """The codes of a product's plans, the device's own choice as the first, 0."""
        codes, count = (ctypes.c_int64 * 256)(), ctypes.c_int32()
        self.gemm_plans(shape=shape, capacity=256, plans=ctypes.addressof(codes), count=ctypes.addressof(count))
        return list(codes[:min(count.value, 256)])

    def cublaslt(self, folder):
        """The version of cuBLASLt, whose algorithms are from now on among the plans; 0: there is none."""
        version = ctypes.c_int64()
        self.check(self.c.sn_gemm_library(self.device, folder and str(folder).encode(), ctypes.byref(version)))
        return version.value

    def record(self, calls):
        """The calls as one recording; returns what replays it and waits."""
        recording = ctypes.c_void_p()
        self.check(self.c.sn_capture_begin(self.stream))
        try:
            for call in calls:
                call()
        finally:
            status = self.c.sn_capture_end(self.stream, ctypes.byref(recording))
        self.check(status)

        def replay():
            self.check(self.c.sn_replay(self.stream, recording))
            self.check(self.c.sn_synchronize(self.stream))

        def destroy():
            self.synchronize()
            self.c.sn_recording_destroy(recording)

        replay.recording, replay.destroy = recording, destroy
        return replay

    def kernels(self, replay):
        """How many kernels a recording launches; None where this library does not count them."""
        if "recording_kernels" not in header.functions:
            return None
        count = ctypes.c_int64()
        self.check(self.c.sn_recording_kernels(replay.recording, ctypes.byref(count)))
        return count.value


def convert(kind, argument):
    """An argument as the declaration has it: structures by address where that is what is wanted."""
    if kind is ctypes.c_void_p:
        if isinstance(argument, ctypes.Structure):
            return ctypes.byref(argument)
        return ctypes.c_void_p(argument)
    if argument is None:
        return kind()
    return argument if isinstance(argument, kind) else kind(argument)
