package dev.sinter;

import dev.sinter.graph.Device;
import dev.sinter.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;

/** What the facades share. */
final class Facades {
  private Facades() {}

  /** Loads something onto a device. */
  @FunctionalInterface
  interface Loading<T> {
    T onto(Device device) throws IOException;
  }

  /** Opens the best device that is there for a model, which closes it in its turn. */
  static <T> T onBestDevice(Loading<T> model) throws IOException {
    Device device = Device.auto();
    try {
      return model.onto(device);
    } catch (IOException | RuntimeException e) {
      device.close();
      throw e;
    }
  }

  static void checkVocabulary(Path folder, Tokenizer tokenizer, int vocabulary) throws IOException {
    if (tokenizer.size() > vocabulary) {
      throw new IOException(
          folder
              + ": the tokenizer has "
              + tokenizer.size()
              + " tokens, the model a vocabulary of "
              + vocabulary
              + "; they are of different models");
    }
  }

  static double[] softmax(float... logits) {
    double most = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double[] shares = new double[logits.length];
    double sum = 0;
    for (int i = 0; i < shares.length; i++) {
      shares[i] = Math.exp(logits[i] - most);
      sum += shares[i];
    }
    for (int i = 0; i < shares.length; i++) {
      shares[i] /= sum;
    }
    return shares;
  }

  static int likeliest(double... shares) {
    int best = 0;
    for (int i = 1; i < shares.length; i++) {
      best = shares[i] > shares[best] ? i : best;
    }
    return best;
  }
}
