package dev.sinter.graph;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The peak that a utilisation is of: a data sheet's or measured, never guessed. */
class PeakRateTest {
  @Test
  void aGpuOfTheTableHasTheRateOfItsDataSheet() {
    PeakRate h200 = PeakRate.lookUp("NVIDIA H200", 132, DType.BF16);
    assertEquals(989.4e12, h200.flops(), 1);
    assertEquals(0.5, h200.share(494.7e12), 1e-12);
    assertEquals("989.4 TFLOP/s, dense bf16 in the data sheet of NVIDIA H200", h200.toString());
    assertEquals(66.9e12, PeakRate.lookUp("NVIDIA H200", 132, DType.F32).flops(), 1);
    assertEquals(312e12, PeakRate.lookUp("NVIDIA A100-SXM4-80GB", 108, DType.BF16).flops(), 1);
  }

  /** A slice, a part under another name, one that looks like another, and none at all. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "NVIDIA H200 MIG 7g.141gb",
        "NVIDIA H20",
        "NVIDIA H100",
        "GRID A100-4C",
        "NVIDIA A10G",
        "Emulated GPU"
      })
  void whatTheTableDoesNotHaveIsNotGuessed(String name) {
    for (int multiprocessors : new int[] {132, 108, 72}) {
      assertNull(PeakRate.lookUp(name, multiprocessors, DType.BF16));
    }
  }

  @Test
  void aPartOfAGpuIsNotTheWhole() {
    assertNull(PeakRate.lookUp("NVIDIA H200", 60, DType.BF16));
  }

  /**
   * Dense rates are what the multiprocessors do at a clock that there is: sheets give sparse ones.
   */
  @Test
  void theTableAgreesWithMultiprocessorsTimesClock() {
    for (PeakRate.Known gpu : PeakRate.KNOWN) {
      boolean few = gpu.name().startsWith("A100") || gpu.name().equals("A30");
      double fp32 = 2 * (few ? 64 : 128); // a multiprocessor and a clock
      double clock = gpu.fp32() * 1e12 / (gpu.multiprocessors() * fp32);
      assertTrue(clock > 1.4e9 && clock < 2.6e9, gpu + " at " + clock);
      double bf16 = gpu.bf16() * 1e12 / (gpu.multiprocessors() * clock);
      double of = // Hopper, large Ampere, Ada and Ampere, GeForce with fp32 sums
          gpu.name().startsWith("H")
              ? 4096
              : few ? 2048 : gpu.name().startsWith("GeForce") ? 512 : 1024;
      // Hopper and A10 boost less where tensor cores work.
      assertEquals(1, bf16 / of, 0.15, gpu.toString());
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16"})
  void aCpuIsMeasuredOnce(DType dtype) {
    try (Device device = Device.cpu(1)) {
      PeakRate peak = device.peak(dtype);
      assertTrue(peak.flops() > 1e6 && peak.flops() < 1e15, peak.toString());
      assertTrue(peak.source().matches("measured: a product of (\\d+) x \\1, .*"), peak.source());
      assertSame(peak, device.peak(dtype));
    }
  }
}
