package dev.sinter.graph;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.sinter.model.GptConfig;
import dev.sinter.model.LanguageModel;
import dev.sinter.model.TrainingGraph;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Rows that begin where tensor cores can read them, whatever their length. */
class PaddedRowsTest {
  @Test
  void rowsBeginAtMultiplesOf128Bytes() {
    for (Map.Entry<Integer, Integer> row : Map.of(1, 64, 63, 64, 64, 64, 50257, 50304).entrySet()) {
      Tensor padded = Tensor.padded("rows", DType.BF16, 3, row.getKey());
      assertEquals(row.getValue().longValue(), padded.stride());
      assertEquals(3L * 2 * row.getValue(), padded.bytes());
      assertEquals(3L * row.getKey(), padded.elements());
      assertEquals(padded.stride(), Tensor.alias("again", padded).stride());
    }
    assertEquals(32, Tensor.padded("rows", DType.F32, 5).stride());
  }

  @Test
  void logitsOfALossHavePaddedRowsInAllTheirProducts() {
    try (Device device = Device.cpu(1);
        LanguageModel model =
            LanguageModel.create(GptConfig.of(61, 16, 24, 1, 3), device, DType.BF16, 7);
        TrainingGraph graph = model.trainingGraph(2, 8, 1, Recompute.NONE, 5)) {
      Set<String> products =
          graph.graph().products().stream().map(Gemm::toString).collect(Collectors.toSet());
      assertTrue(
          products.containsAll(
              List.of(
                  "16x61x24 nt bf16 to bf16, c of 64",
                  "16x24x61 nn bf16 to bf16, a of 64",
                  "61x24x16 tn bf16 to f32, a of 64")),
          products.toString());
    }
  }

  @Test
  void whatTakesDenseTensorsTakesNoPaddedOnes() {
    Tensor padded = Tensor.padded("logits", DType.F32, 2, 5);
    assertThrows(IllegalArgumentException.class, () -> Tensor.view(padded, 10));
    try (Device device = Device.cpu(1);
        LanguageModel model =
            LanguageModel.create(GptConfig.of(61, 16, 24, 1, 3), device, DType.F32, 7)) {
      Parameters p = model.parameters();
      GraphBuilder g = new GraphBuilder(p, GraphBuilder.Mode.TRAIN, Recompute.NONE, 1);
      Tensor ids = g.input("ids", 1, 2);
      Tensor x = g.embedding("x", ids, null, p.get("wte.weight"), null, 1, -1);
      Tensor logits = g.lossLogits(x, p.get("wte.weight"), null);
      Tensor targets = g.input("targets", 1, 2);
      g.output(
          g.sum(g.crossEntropy(g.dropout("dropped", logits, 0.5f, null), targets, null, 0, 1), 1));
      assertThrows(IllegalArgumentException.class, g::build);
    }
  }
}
