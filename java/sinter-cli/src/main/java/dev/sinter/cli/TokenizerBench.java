package dev.sinter.cli;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.sinter.text.Tokenizer;
import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.LongSupplier;
import java.util.stream.DoubleStream;

/** Measures how fast a tokenizer encodes: megabytes of UTF-8 a second. */
final class TokenizerBench {
  /** Lines of text for each task of the common pool. */
  private static final int LINES = 512;

  /** Until the compiler is done and the cache of words is full. */
  private static final double WARM_UP_SECONDS = 3;

  private final Tokenizer tokenizer;
  private final String text;
  private final double megabytes;
  private final PrintWriter out;

  TokenizerBench(Tokenizer tokenizer, String text, PrintWriter out) {
    this.tokenizer = tokenizer;
    this.text = text;
    this.megabytes = text.getBytes(StandardCharsets.UTF_8).length / 1e6;
    this.out = out;
  }

  void run(int runs, boolean json) {
    if (!json) {
      out.printf(
          Locale.ROOT,
          "%,d tokens known, %.1f MB of text%n%-16s %12s %12s %12s%n",
          tokenizer.size(),
          megabytes,
          "test",
          "MB/s",
          "min",
          "max");
    }
    List<String> lines = text.lines().toList();
    List<String> parts = new ArrayList<>();
    for (int from = 0; from < lines.size(); from += LINES) {
      parts.add(String.join("\n", lines.subList(from, Math.min(lines.size(), from + LINES))));
    }
    // One core by the processor time of this thread: what else the machine does is not in it.
    ThreadMXBean threads = ManagementFactory.getThreadMXBean();
    LongSupplier own = threads::getCurrentThreadCpuTime;
    measure("encode x1", own, runs, json, () -> tokenizer.encode(text));
    measure("encode all", System::nanoTime, runs, json, () -> tokenizer.encodeAll(parts));
  }

  private void measure(String test, LongSupplier clock, int runs, boolean json, Runnable encode) {
    long begun = System.nanoTime();
    while ((System.nanoTime() - begun) / 1e9 < WARM_UP_SECONDS) {
      encode.run();
    }
    double[] rates =
        DoubleStream.generate(
                () -> {
                  long started = clock.getAsLong();
                  encode.run();
                  return megabytes * 1e9 / (clock.getAsLong() - started);
                })
            .limit(runs)
            .sorted()
            .toArray();
    double median = (rates[(runs - 1) / 2] + rates[runs / 2]) / 2;
    if (!json) {
      out.printf(
          Locale.ROOT, "%-16s %,12.1f %,12.1f %,12.1f%n", test, median, rates[0], rates[runs - 1]);
      return;
    }
    ObjectNode row = new ObjectMapper().createObjectNode();
    row.put("engine", "sinter");
    row.put("what", test);
    row.put("mb_s_median", Math.round(median * 10) / 10.0);
    row.put("mb_s_min", Math.round(rates[0] * 10) / 10.0);
    row.put("mb_s_max", Math.round(rates[runs - 1] * 10) / 10.0);
    row.put("n", runs);
    out.println(row);
  }
}
