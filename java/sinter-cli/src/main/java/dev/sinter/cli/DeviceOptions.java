package dev.sinter.cli;

import dev.sinter.graph.DType;
import dev.sinter.graph.Device;
import picocli.CommandLine.Option;

/** Where a command computes. */
final class DeviceOptions {
  @Option(
      names = "--device",
      paramLabel = "DEVICE",
      defaultValue = "auto",
      description = "auto, cpu, cuda or cuda:N (default: ${DEFAULT-VALUE}).")
  String device;

  @Option(
      names = "--threads",
      paramLabel = "N",
      defaultValue = "0",
      description = "Threads of the CPU; 0: one a core (default: ${DEFAULT-VALUE}).")
  int threads;

  @Option(
      names = "--isa",
      paramLabel = "ISA",
      description =
          "A lesser instruction set than the device has, for comparisons: of a CPU baseline, avx2,"
              + " avx512, avx512bf16 or amx; of a GPU sm_80 (default: the device's best).")
  String isa;

  Device open() {
    return Device.of(device, threads, isa);
  }

  /** Storage of the weights. */
  static final class DtypeOption {
    @Option(
        names = "--dtype",
        paramLabel = "TYPE",
        defaultValue = "fp32",
        description =
            "Storage of weights and activations, fp32 or bf16 (default: ${DEFAULT-VALUE}).")
    String dtype;

    DType get() {
      return DType.of(dtype);
    }
  }
}
