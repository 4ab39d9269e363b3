"""The plans of a product (sn_gemm_plans): which there are, what they are called, which is the fastest."""
import pathlib
import re

HEADER = pathlib.Path(__file__).resolve().parents[2] / "native/cuda/gemm_plan.h"


def read_tables():
    """Names of kernels by number, and the tiles of each table."""
    text = re.sub(r"//.*", "", HEADER.read_text())
    kernels = re.search(r"enum class GemmKernel \{(.*?)\}", text, re.S)[1].replace("\n", " ").split(",")
    fields = {name: [field.strip() for line in body.split(";") for field in re.sub(r"^\s*\w+ ", "", line.strip()).split(",")
                     if field.strip()] for name, body in re.findall(r"struct (\w+Tile) \{(.*?)\};", text, re.S)}
    tables = {}
    for kind, name, body in re.findall(r"constexpr (\w+Tile) k(\w+)Tiles\[\] = \{(.*?)\n\};", text, re.S):
        rows = re.findall(r"\{(.*?)\}", body)
        tables[name.lower().rstrip("s")] = [dict(zip(fields[kind], map(str.strip, row.split(",")))) for row in rows]
    return [kernel.strip() for kernel in kernels], tables


KERNELS, TABLES = read_tables()


def kernel_of(code):
    return KERNELS[(code & 0xFF) - 1]


def describe(code):
    """"warpgroup 128×256 cooperative", say."""
    if code == 0:
        return "the device's only one"
    kernel, tile, splits = kernel_of(code), code >> 8 & 0xFF, code >> 16 & 0xFFFF
    words = [kernel]
    tiles = TABLES.get(kernel.lower().rstrip("s"))
    if kernel == "cublasLt":
        return f"cuBLASLt's number {tile}"
    if tiles:
        own = tiles[tile]
        words.append(f"{own['rows']}×{own['columns']}")
        if "pingPong" in own:
            words.append("ping-pong" if own["pingPong"] == "true" else "cooperative")
        if own.get("cluster", "1") not in ("1", "false"):
            words.append("cluster")
    if splits > 1:
        words.append(f"{splits} parts")
    return " ".join(words)


def features_of(code):
    """What a plan's kernel does that others do not: a rung of the ladder."""
    kernel = kernel_of(code)
    if kernel == "cublasLt":
        return "cuBLASLt"
    return " ".join(word for word in describe(code).split() if not word[0].isdigit() and word != "parts")


class Tuner:
    """The fastest plan of each shape, ours and cuBLASLt's, found once a process."""

    def __init__(self, bench):
        self.bench, self.known = bench, {}

    def ranked(self, device, shape, **operands):
        """(seconds, code) of all plans but 0, the fastest first; operands are the call's."""
        key = (device.isa, bytes(shape))
        if key in self.known:
            return self.known[key]
        timed = []
        for code in device.plans(shape)[1:]:
            own = type(shape).from_buffer_copy(shape)
            own.plan = code
            workspace = device.workspace("gemm", shape=own)
            replay = device.record([lambda: device.gemm(shape=own, workspace=workspace, **operands)] * 2)
            timed.append((min(self.bench.once(replay) for _ in range(1 if self.bench.tiny else 3)), code))
            replay.destroy()
            device.free(workspace)
        self.known[key] = sorted(timed)
        return self.known[key]

    def best(self, device, shape, **operands):
        """The codes of our fastest plan and of cuBLASLt's; 0 and None where there is none."""
        ranked = [code for _, code in self.ranked(device, shape, **operands)]
        ours = next((code for code in ranked if kernel_of(code) != "cublasLt"), 0)
        return ours, next((code for code in ranked if kernel_of(code) == "cublasLt"), None)
