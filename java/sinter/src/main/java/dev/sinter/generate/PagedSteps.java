package dev.sinter.generate;

import dev.sinter.graph.Sampler;
import dev.sinter.model.FrozenModel;
import dev.sinter.model.LoadedAdapter;
import dev.sinter.model.PagedDecoder;

/** The steps of a {@link PagedDecoder}. */
final class PagedSteps implements Steps {
  private static final int NONE = -1;

  private final FrozenModel model;
  private final PagedDecoder decoder;
  private final EngineSettings settings;
  private int asked = NONE;

  PagedSteps(FrozenModel model, EngineSettings settings) {
    this.model = model;
    this.settings = settings;
    decoder =
        new PagedDecoder(model, pages(), settings.pageSize(), settings.slots(), settings.rows());
  }

  @Override
  public int context() {
    return model.config().context();
  }

  @Override
  public int vocabulary() {
    return model.config().vocabulary();
  }

  @Override
  public int pages() {
    return settings.pagesFor(context());
  }

  @Override
  public int pageSize() {
    return settings.pageSize();
  }

  @Override
  public int slots() {
    return settings.slots();
  }

  @Override
  public int maxRows() {
    return settings.rows();
  }

  @Override
  public void setPage(int slot, int index, int page) {
    decoder.setPage(slot, index, page);
  }

  @Override
  public void setToken(int slot, int position, int token) {
    decoder.setToken(slot, position, token);
  }

  @Override
  public int loadAdapter(LoadedAdapter adapter) {
    return decoder.loadAdapter(adapter);
  }

  @Override
  public void unloadAdapter(int index) {
    decoder.unloadAdapter(index);
  }

  @Override
  public void setAdapter(int slot, int index) {
    decoder.setAdapter(slot, index);
  }

  @Override
  public void begin() {
    decoder.begin();
    asked = NONE;
  }

  @Override
  public int add(int slot, int position, int token) {
    return decoder.add(slot, position, token);
  }

  @Override
  public void choose(int row, Sampler.Settings how, long seed, long step, int historyLength) {
    decoder.choose(row, how, seed, step, historyLength);
    asked = row;
  }

  @Override
  public void wantLogits(int row) {
    decoder.wantLogits(row);
    asked = row;
  }

  @Override
  public void run() {
    decoder.run();
    if (asked != NONE) {
      decoder.token(asked); // whatever fails on the device fails the step, not who looks first
    }
  }

  @Override
  public int token(int row) {
    return decoder.token(row);
  }

  @Override
  public float logprob(int row) {
    return decoder.logprob(row);
  }

  @Override
  public void logits(int row, float[] into) {
    decoder.logits(row, into);
  }

  @Override
  public void close() {
    decoder.close();
  }
}
