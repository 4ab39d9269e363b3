package dev.sinter.cli;

import dev.sinter.generate.Engine;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LoadedAdapter;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Low-rank adapters, and which of them completes a prompt. */
final class AdapterOptions {
  private static final String NONE = "none";

  @Option(
      names = "--adapter",
      paramLabel = "NAME=DIR",
      description =
          "Folder of a low-rank adapter in PEFT's layout, and a name for it. May be given several"
              + " times.")
  private List<String> adapters = List.of();

  @Option(
      names = "--use",
      paramLabel = "NAME",
      description =
          "Which adapter completes the prompts, or, as often as there are prompts, each of them;"
              + " none: the model itself (default: the one that there is).")
  private List<String> uses = List.of();

  boolean given() {
    return !adapters.isEmpty() || !uses.isEmpty();
  }

  private Map<String, Path> folders() {
    Map<String, Path> all = new LinkedHashMap<>();
    for (String adapter : adapters) {
      int at = adapter.indexOf('=');
      if (at < 1 || at == adapter.length() - 1) {
        throw new IllegalArgumentException(
            "--adapter " + adapter + "; NAME=DIR, for example --adapter polite=out");
      }
      String name = adapter.substring(0, at);
      if (name.equals(NONE) || all.put(name, Path.of(adapter.substring(at + 1))) != null) {
        throw new IllegalArgumentException(
            "--adapter " + name + (name.equals(NONE) ? " means no adapter" : " is there twice"));
      }
    }
    return all;
  }

  /** Reads them all into an engine. */
  void load(Engine engine, FrozenModel model) throws IOException {
    for (Map.Entry<String, Path> adapter : folders().entrySet()) {
      engine.loadAdapter(LoadedAdapter.read(adapter.getKey(), adapter.getValue(), model));
    }
  }

  /** The name of each prompt's adapter; empty: the model itself. */
  List<Optional<String>> choices(int prompts) {
    List<String> names = List.copyOf(folders().keySet());
    if (uses.isEmpty() && names.size() > 1) {
      throw new IllegalArgumentException(
          "--adapter names " + String.join(", ", names) + "; --use says which completes a prompt");
    }
    List<String> chosen = uses.isEmpty() && !names.isEmpty() ? names : uses;
    if (chosen.size() > 1 && chosen.size() != prompts) {
      throw new IllegalArgumentException(
          chosen.size() + " --use and " + prompts + " prompts; as many, or one");
    }
    for (String name : chosen) {
      if (!name.equals(NONE) && !names.contains(name)) {
        throw new IllegalArgumentException(
            "--use "
                + name
                + "; "
                + (names.isEmpty()
                    ? "there is no --adapter"
                    : String.join(", ", names) + ", none"));
      }
    }
    List<Optional<String>> all =
        chosen.stream().map(Optional::of).map(one -> one.filter(n -> !n.equals(NONE))).toList();
    return all.size() == prompts && !all.isEmpty()
        ? all
        : Collections.nCopies(prompts, all.isEmpty() ? Optional.empty() : all.get(0));
  }
}
