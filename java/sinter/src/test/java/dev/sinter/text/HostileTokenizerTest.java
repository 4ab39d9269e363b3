package dev.sinter.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Broken files end in one line that names them. */
class HostileTokenizerTest {
  @TempDir private Path folder;

  private void refused(String file, String expected) {
    IOException e = assertThrows(IOException.class, () -> Tokenizer.load(folder));
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
    assertTrue(e.getMessage().length() < 1000, e.getMessage());
    assertTrue(e.getMessage().startsWith(folder.resolve(file) + ": "), e.getMessage());
    assertTrue(e.getMessage().contains(expected), e.getMessage());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "'normalizer':{'type':'Replace'}|normalizer of type Replace",
        "'normalizer':{'type':'Sequence','normalizers':[{'type':'Prepend'}]}|normalizer of type"
            + " Prepend",
        "'normalizer':7|normalizer of type ?",
        "'pre_tokenizer':{'type':'Metaspace'}|pre_tokenizer of type Metaspace",
        "'decoder':{'type':'Fuse'}|decoder of type Fuse",
        "'post_processor':{'type':'RobertaProcessing'}|post_processor of type RobertaProcessing",
        "'post_processor':{'type':'BertProcessing'}|without cls and sep",
        "'post_processor':{'type':'BertProcessing','cls':['a',99],'sep':['b',1]}|99 is no id",
        "'post_processor':{'type':'TemplateProcessing','single':[],'pair':[]}|no template of 1"
            + " texts",
        "'post_processor':{'type':'TemplateProcessing','single':[{'X':1}]}|no part of a template",
        "'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'x','type_id':0}}]}|no"
            + " ids of x",
        "'added_tokens':[{'id':5}]|added token without content and id",
        "'added_tokens':[{'id':1,'content':'a'}]|has two ids",
        "'added_tokens':[{'id':9,'content':'b'}]|has id 9",
        "'added_tokens':[{'id':5,'content':'b','single_word':true}]|single_word true is not"
            + " supported",
        "'added_tokens':[{'id':5,'content':'b','normalized':true}],'normalizer':{'type':'NFD'}|normalized"
            + " true is not supported"
      })
  void unknownPartsAreRefusedByName(String parts, String expected) throws IOException {
    String json =
        "{'model':{'type':'WordPiece','unk_token':'[UNK]','vocab':{'[UNK]':0,'##a':1,'a':2,'[CLS]':3,'[SEP]':4}}"
            + (parts.contains("'pre_tokenizer'")
                ? ""
                : ",'pre_tokenizer':{'type':'BertPreTokenizer'}")
            + (parts.contains("'decoder'") ? "" : ",'decoder':{'type':'WordPiece'}")
            + ","
            + parts
            + "}";
    Files.writeString(folder.resolve("tokenizer.json"), json.replace('\'', '"'));
    refused("tokenizer.json", expected);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{'type':'WordPiece','vocab':{'a':0}}|does not have the token for unknown words, [UNK]",
        "{'type':'WordPiece','vocab':{'[UNK]':1.5}}|no integer id",
        "{'type':'WordPiece','vocab':{'[UNK]':2147483647}}|has id 2147483647",
        "{'type':'WordPiece','vocab':{'[UNK]':-1}}|has id -1",
        "{'type':'WordPiece','vocab':{'[UNK]':0},'max_input_chars_per_word':'x'}|whole"
            + " max_input_chars_per_word",
        "{'type':'WordPiece','vocab':{'[UNK]':0},'continuing_subword_prefix':''}|continuing_subword_prefix",
        "{'type':'WordPiece','vocab':[]}|the vocabulary is empty",
        "{'type':'BPE','vocab':{'a':0},'merges':[['a']]}|merge 0 is no pair",
        "{'type':'BPE','vocab':{'a':0},'merges':[7]}|merge 0 is no pair",
        "{'type':'BPE','vocab':{'a':0},'merges':[]}|needs end_of_word_suffix",
        "{'type':'BPE','vocab':{'a':0},'unk_token':'a','end_of_word_suffix':'</w>','merges':['a"
            + " b']}|decoder of type null",
        "{'type':'BPE','vocab':{'a':0},'dropout':0.1}|model.dropout 0.1",
        "{'type':'BPE','vocab':{'a':0},'byte_fallback':true}|model.byte_fallback true",
        "{'type':'Unigram','vocab':[['a',0]]}|model of type Unigram",
        "7|model of type ?"
      })
  void brokenModelsAreRefused(String model, String expected) throws IOException {
    Files.writeString(
        folder.resolve("tokenizer.json"), ("{'model':" + model + "}").replace('\'', '"'));
    refused("tokenizer.json", expected);
  }

  @Test
  void brokenOlderFilesAreRefused() throws IOException {
    Path words = folder.resolve("vocab.txt");
    Files.writeString(words, "");
    refused("vocab.txt", "the vocabulary is empty");
    Files.writeString(words, "a\nb\na\n");
    refused("vocab.txt", "lines 1 and 3 have the same token: a");
    Files.writeString(words, "a\nb\n");
    refused("vocab.txt", "[UNK]");
    Files.write(words, new byte[] {'a', '\n', (byte) 0xff});
    refused("vocab.txt", "is not UTF-8");

    Files.writeString(folder.resolve("vocab.json"), "{\"<unk>\":0,\"a</w>\":1}");
    Path merges = folder.resolve("merges.txt");
    Files.writeString(merges, "#version: 0.2\na b c\n");
    refused("merges.txt", "line 2 is no pair of tokens");
    Files.writeString(merges, "a b</w>\n");
    refused("vocab.json", "merge 0 (a b</w>) names a token");
    Files.writeString(folder.resolve("vocab.json"), "[]");
    refused("vocab.json", "is no JSON object");
  }

  @Test
  void deepAndRepeatedJsonIsRefused() throws IOException {
    Path file = folder.resolve("tokenizer.json");
    Files.writeString(file, "{\"model\":" + "[".repeat(1_000_000));
    refused("tokenizer.json", "damaged");
    Files.writeString(file, "{\"model\":{\"vocab\":{\"a\":0,\"a\":1}}}");
    refused("tokenizer.json", "Duplicate");
    Files.writeString(
        file, "{\"normalizer\":" + "{\"type\":\"Sequence\",\"normalizers\":[".repeat(400));
    refused("tokenizer.json", "damaged");
    Files.writeString(file, "{} {}");
    refused("tokenizer.json", "damaged");
  }

  /** Whatever byte is changed: the file loads, or ends in one line. */
  @Test
  void damagedFilesNeverCrash() throws IOException {
    Random random = new Random(1);
    for (Tokenizer tokenizer :
        new Tokenizer[] {
          WordTokenizer.trainWordPiece("ab ba abc", 30, true),
          WordTokenizer.trainBpe("ab ba abc", 20)
        }) {
      tokenizer.save(folder);
      Path file = folder.resolve("tokenizer.json");
      byte[] whole = Files.readAllBytes(file);
      for (int round = 0; round < 1_000; round++) {
        byte[] damaged = whole.clone();
        for (int count = random.nextInt(3); count >= 0; count--) {
          damaged[random.nextInt(damaged.length)] =
              (byte)
                  (random.nextBoolean()
                      ? random.nextInt(256)
                      : "{}[]\",:0123".charAt(random.nextInt(11)));
        }
        Files.write(file, damaged);
        try {
          Tokenizer.load(file).encoding("abc é", "[MASK]");
        } catch (IOException e) {
          assertEquals(
              1, e.getMessage().lines().count(), new String(damaged, StandardCharsets.UTF_8));
        }
      }
    }
  }
}
