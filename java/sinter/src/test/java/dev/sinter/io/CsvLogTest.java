package dev.sinter.io;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CsvLogTest {
  private static final String HEADER = "step,train_loss,validation_loss";

  @TempDir Path folder;
  private Path file;

  @BeforeEach
  void name() {
    file = folder.resolve("run/metrics.csv");
  }

  @Test
  void rowsAreAppendedAsTheyCome() throws IOException {
    try (CsvLog log = CsvLog.open(file, HEADER, 0)) {
      log.append(1, 4.5f, Double.NaN);
      log.append(2, 0.1f, 1e-300);
      assertEquals(HEADER + "\n1,4.5,\n2,0.1,1.0E-300\n", Files.readString(file));
      log.append(3, 7, Double.POSITIVE_INFINITY);
      assertThrows(IllegalArgumentException.class, () -> log.append(4, 1));
    }
    CsvLog.Table table = CsvLog.read(file);
    assertEquals(
        Map.of(1L, 4.5, 2L, (double) 0.1f, 3L, 7.0).keySet(), table.column("train_loss").keySet());
    assertEquals(Map.of(2L, 1e-300, 3L, Double.POSITIVE_INFINITY), table.column("validation_loss"));
    assertThrows(IllegalArgumentException.class, () -> table.column("accuracy"));
  }

  @Test
  void aResumedRunKeepsTheRowsUpToItsStepAndDropsOneThatWasCutOff() throws IOException {
    Files.createDirectories(file.getParent());
    Files.writeString(file, HEADER + "\n1,3,\n2,2.5,2.75\n3,2,\n4,1.");
    try (CsvLog log = CsvLog.open(file, HEADER, 2)) {
      log.append(3, 1.5, Double.NaN);
    }
    assertEquals(HEADER + "\n1,3,\n2,2.5,2.75\n3,1.5,\n", Files.readString(file));
    CsvLog.open(file, HEADER, 0).close();
    assertEquals(HEADER + "\n", Files.readString(file));
  }

  @Test
  void aLogThatIsMissingOrWasKilledBeforeItsHeaderIsStarted() throws IOException {
    CsvLog.open(file, HEADER, 7).close();
    assertEquals(HEADER + "\n", Files.readString(file));
    Files.writeString(file, "step,tr");
    CsvLog.open(file, HEADER, 7).close();
    assertEquals(HEADER + "\n", Files.readString(file));
  }

  @Test
  void aFileThatIsNotThisRunsLogIsLeftAlone() throws IOException {
    Files.createDirectories(file.getParent());
    for (String other :
        new String[] {
          "step,loss\n1,2\n", HEADER + "\n1,2\n", HEADER + "\none,2,3\n", "\u0000\u00ff\n"
        }) {
      Files.writeString(file, other);
      var e = assertThrows(FormatException.class, () -> CsvLog.open(file, HEADER, 5));
      assertTrue(e.getMessage().startsWith(file + ": "), e::getMessage);
      assertEquals(other, Files.readString(file));
    }
  }

  @Test
  void aLogThatIsStillWrittenIsReadToItsLastWholeRow() throws IOException {
    Files.createDirectories(file.getParent());
    Files.writeString(file, HEADER + "\n1,3,\n2,2.");
    assertEquals(Map.of(1L, 3.0), CsvLog.read(file).column("train_loss"));
    Files.writeString(file, "a,b\n1,2\n");
    assertThrows(FormatException.class, () -> CsvLog.read(file));
    Files.writeString(file, "");
    assertThrows(FormatException.class, () -> CsvLog.read(file));
  }
}
