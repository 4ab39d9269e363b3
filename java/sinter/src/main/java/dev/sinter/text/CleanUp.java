package dev.sinter.text;

/** Takes away the spaces that decoding puts before English punctuation, as Hugging Face does. */
final class CleanUp {
  private static final String[][] CHANGES = {
    {" .", "."},
    {" ?", "?"},
    {" !", "!"},
    {" ,", ","},
    {" ' ", "'"},
    {" n't", "n't"},
    {" 'm", "'m"},
    {" do not", " don't"},
    {" 's", "'s"},
    {" 've", "'ve"},
    {" 're", "'re"}
  };

  private CleanUp() {}

  static String of(String text) {
    for (String[] change : CHANGES) {
      text = text.replace(change[0], change[1]);
    }
    return text;
  }
}
