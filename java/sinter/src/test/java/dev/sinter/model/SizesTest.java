package dev.sinter.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.sinter.graph.ParameterSpec;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The numbers of parameters of all models that have a name, without allocating any. */
class SizesTest {
  private static long count(List<ParameterSpec> specs) {
    return specs.stream().filter(ParameterSpec::trains).mapToLong(ParameterSpec::elements).sum();
  }

  @ParameterizedTest
  @CsvSource({
    "openai-gpt, 116534784",
    "gpt2, 124439808",
    "gpt2-medium, 354823168",
    "gpt2-large, 774030080",
    "gpt2-xl, 1557611200",
    "gpt3-small, 125226240",
    "gpt3-medium, 355871744",
    "gpt3-large, 760300032",
    "gpt3-xl, 1315723264",
    "gpt3-2.7b, 2651553280",
    "gpt3-6.7b, 6658404352",
    "gpt3-13b, 12853386240",
    "gpt3-175b, 174604259328"
  })
  void gpts(String name, long parameters) {
    GptConfig config = GptConfig.preset(name);
    assertEquals(parameters, count(new GptLayers(config).parameters()));
    assertEquals(parameters, config.parameters());
  }

  @ParameterizedTest
  @CsvSource({
    "bert-base-uncased, 109482240, 110106428, 108891648",
    "bert-base-cased, 108310272, 108932934, 107719680",
    "bert-large-uncased, 335141888, 336226108, 334092288",
    "bert-large-cased, 333579264, 334661958, 332529664"
  })
  void berts(String name, long withPooler, long withHeads, long alone) {
    BertConfig config = BertConfig.preset(name);
    long d = config.width();
    long backbone = count(new Bert(config).parameters());
    long pooler = d * d + d;
    long heads = d * d + d + 2 * d + config.vocabulary() + 2 * d + 2;
    assertEquals(alone, backbone);
    assertEquals(withPooler, backbone + pooler);
    assertEquals(withHeads, backbone + pooler + heads);
  }

  @ParameterizedTest
  @CsvSource({"transformer-base, 63082496", "transformer-big, 214245376"})
  void transformers(String name, long parameters) {
    TransformerConfig config = TransformerConfig.preset(name);
    assertEquals(parameters, count(new Transformer(config).parameters()));
  }

  @Test
  void aNameThatNoModelHasIsAnsweredWithThoseThatAreThere() {
    assertThrows(IllegalArgumentException.class, () -> GptConfig.preset("gpt5"));
    assertThrows(IllegalArgumentException.class, () -> BertConfig.preset("bert"));
    assertThrows(IllegalArgumentException.class, () -> TransformerConfig.preset("base"));
  }
}
