package dev.sinter.cli;

import java.time.Duration;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/** What the user's terminal can show. */
final class Terminal {
  private Terminal() {}

  /** Whether a person watches: the launcher says so, as Java 22 and later cannot. */
  static boolean isInteractive() {
    return "1".equals(System.getenv("SINTER_TERMINAL"));
  }

  /** A bar on stderr; the caller closes it. */
  static ProgressBar bar(String name, long done, long all) {
    return new ProgressBarBuilder()
        .setTaskName(name)
        .setInitialMax(all)
        .startsFrom(done, Duration.ZERO)
        .setStyle(ProgressBarStyle.UNICODE_BLOCK)
        .setUpdateIntervalMillis(200)
        .setConsumer(new ConsoleProgressBarConsumer(System.err))
        .build();
  }
}
