package dev.sinter.graph;

import java.util.ArrayList;
import java.util.List;

/**
 * Puts a norm and the product that reads it next into one call. When tokens are decoded one at a
 * time, a GPU spends more time between short operations than in them.
 */
final class NormFusion {
  private NormFusion() {}

  /** The operations of a pass without gradients, norms in front of products within these. */
  static List<Operation> of(List<Operation> operations) {
    List<Operation> fused = new ArrayList<>();
    for (int i = 0; i < operations.size(); i++) {
      Operation both =
          i + 1 < operations.size() && operations.get(i) instanceof LayerNorm norm
              ? operations.get(i + 1).behind(norm.ofRows())
              : null;
      fused.add(both == null ? operations.get(i) : both);
      i += both == null ? 0 : 1;
    }
    return fused;
  }
}
