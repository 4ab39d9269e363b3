package dev.sinter.natives;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.natives.global.sinter;
import org.bytedeco.javacpp.BytePointer;
import org.junit.jupiter.api.Test;

class BindingTest {
  @Test
  void libraryAndBindingAreOfOneVersion() {
    assertEquals(sinter.SN_VERSION, sinter.sn_version());
  }

  @Test
  void aDeviceOpensAndSaysWhatItIs() {
    sn_device device = new sn_device();
    assertEquals(
        sinter.SN_OK, sinter.sn_device_create(sinter.SN_CPU, 0, 2, (BytePointer) null, device));
    try {
      assertEquals(2, sinter.sn_device_threads(device));
      assertTrue(
          java.util.Set.of("baseline", "avx2", "avx512", "avx512bf16", "amx")
              .contains(sinter.sn_device_isa(device).getString()));
    } finally {
      sinter.sn_device_destroy(device);
    }
  }

  @Test
  void aFailureLeavesItsMessage() {
    sn_device device = new sn_device();
    assertEquals(
        sinter.SN_BAD_ARGUMENT,
        sinter.sn_device_create(sinter.SN_CPU, 0, 2, new BytePointer("mmx"), device));
    assertTrue(sinter.sn_last_error().getString().startsWith("isa mmx: unknown"));
  }
}
