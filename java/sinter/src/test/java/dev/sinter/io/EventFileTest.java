package dev.sinter.io;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EventFileTest {
  @TempDir Path folder;

  @Test
  void theMaskedChecksumIsThatOfTheFormat() {
    byte[] digits = "123456789".getBytes(StandardCharsets.US_ASCII);
    assertEquals(0xc78ab0e5, EventFile.maskedCrc(digits, digits.length));
    assertEquals(0xa282ead8, EventFile.maskedCrc(new byte[0], 0));
  }

  @Test
  void scalarsAreTheBytesThatTensorBoardReads() throws IOException {
    try (EventFile events = EventFile.create(folder, 1_700_000_000_500L)) {
      events.scalar("loss/train", 300, 2.5, 1_700_000_001_250L);
    }
    List<byte[]> payloads = payloads(onlyFile());
    assertEquals(2, payloads.size());
    // field 3, string of 13 bytes; field 1, double 1700000000.5
    assertEquals(
        "1a0d" + hex("brain.Event:2") + "09" + little(1_700_000_000.5),
        HexFormat.of().formatHex(payloads.get(0)));
    // field 2, varint 300; field 5, message of 19 { field 1, message of 17 { tag, value } }; field
    // 1
    assertEquals(
        "10ac02"
            + "2a13"
            + "0a11"
            + "0a0a"
            + hex("loss/train")
            + "1500002040"
            + "09"
            + little(1_700_000_001.25),
        HexFormat.of().formatHex(payloads.get(1)));
  }

  @Test
  void aRunThatGoesOnWritesANewFileThatVoidsLaterSteps() throws IOException {
    EventFile.create(folder, 1_700_000_000_000L).close();
    EventFile.resume(folder, 5, 1_700_000_000_000L).close();
    try (var files = Files.list(folder)) {
      List<Path> sorted = files.sorted().toList();
      assertEquals(2, sorted.size());
      assertTrue(
          sorted.get(0).getFileName().toString().startsWith("events.out.tfevents.1700000000."));
      List<byte[]> payloads = payloads(sorted.get(1));
      assertEquals(2, payloads.size());
      // field 2, varint 5; field 7, message { field 1, START }
      assertTrue(HexFormat.of().formatHex(payloads.get(1)).startsWith("1005" + "3a020801" + "09"));
    }
  }

  @Test
  void aClosedFileTakesNothing() throws IOException {
    EventFile events = EventFile.create(folder.resolve("new/folder"), 0);
    events.close();
    events.close();
    assertThrows(IllegalStateException.class, () -> events.scalar("loss", 1, 1, 0));
  }

  /** Takes the frames apart and checks both checksums of each. */
  private static List<byte[]> payloads(Path file) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    List<byte[]> payloads = new ArrayList<>();
    while (bytes.hasRemaining()) {
      byte[] length = new byte[8];
      bytes.get(length);
      assertEquals(EventFile.maskedCrc(length, 8), bytes.getInt());
      byte[] payload =
          new byte[(int) ByteBuffer.wrap(length).order(ByteOrder.LITTLE_ENDIAN).getLong()];
      bytes.get(payload);
      assertEquals(EventFile.maskedCrc(payload, payload.length), bytes.getInt());
      payloads.add(payload);
    }
    return payloads;
  }

  private Path onlyFile() throws IOException {
    try (var files = Files.list(folder)) {
      List<Path> all = files.toList();
      assertEquals(1, all.size());
      return all.get(0);
    }
  }

  private static String hex(String text) {
    return HexFormat.of().formatHex(text.getBytes(StandardCharsets.US_ASCII));
  }

  private static String little(double value) {
    return HexFormat.of()
        .formatHex(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putDouble(value).array());
  }
}
