"""Whether nvcc makes of a kernel file the machine code that it is written for.

    python machine_code.py NVCC FILE [OPTION...]

FILE is one of machine_code.txt, which says what its kernels may take and what they must hold; OPTIONs are nvcc's. The file is
compiled once; its PTX, ptxas's report and the machine code itself are then held to these rules:

  - registers and shared memory of each kernel within the limits of the table, and all its threads' registers within those of
    a multiprocessor, as they are at launch and as setmaxnreg deals them out;
  - nothing in local memory: no spills, no arrays, and no instruction that reads or writes it;
  - as many instructions of the tensor cores as the PTX says, and no word of ptxas that it had to serialise them;
  - the instructions that the table names.
"""
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "native"
REGISTERS = 65536  # of a multiprocessor

# The nine bits that name an instruction in the machine code of compute capability 8.0 to 9.0, as this nvcc writes it: where
# the toolkit has a disassembler, its words are taken instead.
OPCODES = {0x1F0: "HGMMA", 0x1F3: "QGMMA", 0x183: "LDL", 0x187: "STL"}


def table():
    """By file: the compute capability, limits by kernel, instructions."""
    files = {}
    for line in (HERE / "machine_code.txt").read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not line[0].isspace():
            name, capability = words
            files[name] = (capability, {}, [])
        elif words[0] == "kernel":
            files[name][1][words[1]] = (int(words[2]), int(words[3]))
        else:
            files[name][2].append(" ".join(words))
    return files


def compile_file(nvcc, source, capability, options, folder):
    """ptxas's report; PTX and machine code lie in the folder."""
    command = [nvcc, "-cubin", "-std=c++20", "-O3", "-DNDEBUG", f"-gencode=arch=compute_{capability},code=sm_{capability}", "-I",
               NATIVE, "-I", NATIVE / "include", "--keep", "--keep-dir", folder, "-Xptxas=-v", *options, source, "-o",
               folder / "machine.cubin"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{run.stdout}{run.stderr}")
    return run.stdout + run.stderr


def reported(report):
    """What ptxas says of each kernel: registers, bytes of shared memory, bytes of local memory."""
    kernels = {}
    for block in report.split("Compiling entry function '")[1:]:
        number = lambda pattern: sum(map(int, re.findall(pattern, block)))
        kernels[block.split("'")[0]] = (number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), number(
            r"(\d+) bytes (?:stack frame|spill stores|spill loads)"))
    return kernels


def mangled(name):
    """As the C++ name is part of the symbol's."""
    return f"{len(name)}{name}"


def sections(cubin):
    """The machine code by kernel: an ELF file's sections .text.KERNEL."""
    start, = struct.unpack_from("<Q", cubin, 0x28)
    count, names = struct.unpack_from("<HH", cubin, 0x3C)
    headers = [struct.unpack_from("<IIQQQQ", cubin, start + 64 * i) for i in range(count)]
    for name, _, _, _, offset, size in headers:
        begin = headers[names][4] + name
        text = cubin[begin:cubin.index(b"\0", begin)].decode()
        if text.startswith(".text."):
            yield text[len(".text."):], cubin[offset:offset + size]


def counted(cubin_file, nvcc):
    """By kernel: how often the instructions of OPCODES are in its machine code."""
    counts = {}
    disassembler = shutil.which("nvdisasm", path=str(pathlib.Path(nvcc).resolve().parent)) or shutil.which("nvdisasm")
    if disassembler:
        text = subprocess.run([disassembler, "-c", cubin_file], capture_output=True, text=True, check=True).stdout
        for part in re.split(r"^\.text\.", text, flags=re.M)[1:]:
            kernel, code = part.split(":", 1)
            counts[kernel] = {name: len(re.findall(rf"\b{name}\b", code)) for name in OPCODES.values()}
        return counts
    for kernel, code in sections(cubin_file.read_bytes()):
        counts[kernel] = dict.fromkeys(OPCODES.values(), 0)
        for offset in range(0, len(code), 16):
            name = OPCODES.get(struct.unpack_from("<H", code, offset)[0] & 0x1FF)
            if name:
                counts[kernel][name] += 1
    return counts


def launched(entry):
    """Of a kernel's PTX: the most threads of a block, and the blocks that a multiprocessor must hold."""
    number = lambda directive: int((re.search(rf"\.{directive} (\d+)", entry) or [0, 0])[1])
    return number("maxntid"), max(1, number("minnctapersm"))


def dealt_out(entry, threads):
    """The registers of a block whose producer, one warpgroup, gives to the others; None where none does."""
    lowered = [int(n) for n in re.findall(r"setmaxnreg\.dec\.sync\.aligned\.u32 (\d+)", entry)]
    raised = [int(n) for n in re.findall(r"setmaxnreg\.inc\.sync\.aligned\.u32 (\d+)", entry)]
    if not raised:
        return None
    return 128 * min(lowered, default=0) + (threads - 128) * max(raised)


def faults_of(limit, ptx, report, counts):
    registers, shared, local = report
    threads, blocks = launched(ptx)
    if registers > limit[0]:
        yield f"{registers} registers, {limit[0]} allowed"
    if shared > limit[1]:
        yield f"{shared} bytes of shared memory, {limit[1]} allowed"
    if registers * threads * blocks > REGISTERS:
        yield f"{registers} registers of {threads} threads of {blocks} blocks: no multiprocessor has them"
    dealt = dealt_out(ptx, threads)
    at_launch = -(-registers // 8) * 8 * threads
    if dealt is not None and dealt > at_launch:
        yield f"setmaxnreg deals {dealt} registers and the block has {at_launch}: who raises its share waits for ever"
    if local or counts["LDL"] or counts["STL"]:
        yield f"{local} bytes of local memory, {counts['LDL']} LDL, {counts['STL']} STL"
    expected = len(re.findall(r"\bwgmma\.mma_async", ptx))
    if counts["HGMMA"] + counts["QGMMA"] < expected:
        yield f"{expected} wgmma in PTX, {counts['HGMMA']} HGMMA and {counts['QGMMA']} QGMMA in the machine code"


def main():
    nvcc, name, *options = sys.argv[1:]
    capability, limits, instructions = table()[name]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        report = compile_file(nvcc, NATIVE / "cuda" / f"{name}.cu", capability, options, folder)
        ptx = (folder / f"{name}.ptx").read_text()
        counts = counted(folder / "machine.cubin", nvcc)
    kernels = reported(report)
    entries = {re.match(r"\s*(\w+)", part)[1]: part for part in re.split(r"\.visible \.entry |\.weak \.entry |\.entry ", ptx)[1:]}
    for word, limit in limits.items():
        mine = [kernel for kernel in kernels if mangled(word) in kernel]
        if not mine:
            faults.append(f"{name}: no kernel {word}")
            continue
        most = lambda i: max(kernels[kernel][i] for kernel in mine)
        print(f"{word}: {len(mine)} instances, {most(0)} registers, {most(1)} bytes shared,", ", ".join(
            f"{sum(counts[kernel][operation] for kernel in mine)} {operation}" for operation in OPCODES.values()))
        for kernel in mine:
            faults += [f"{kernel}: {fault}" for fault in faults_of(limit, entries[kernel], kernels[kernel], counts[kernel])]
    faults += [f"{kernel}: not in machine_code.txt" for kernel in kernels
               if not any(mangled(word) in kernel for word in limits)]
    faults += [f"{name}: no {instruction}" for instruction in instructions if instruction not in ptx]
    faults += [line for line in report.splitlines() if re.search(r"\(C7\d+\)|serializ", line)]
    print(*faults, sep="\n")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
