package dev.sinter.train;

/** The loss or the gradients are no longer finite. The weights are those of the step before. */
public final class DivergedException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  DivergedException(long step, double loss, double norm) {
    super(
        "training diverged at step "
            + step
            + ": loss "
            + loss
            + ", gradient norm "
            + norm
            + "; lower the learning rate, lengthen the warm-up or clip gradients, and resume from"
            + " the last checkpoint");
  }
}
