package dev.sinter.model;

import static dev.sinter.graph.ParameterSpec.constant;
import static dev.sinter.graph.ParameterSpec.normal;

import dev.sinter.graph.GraphBuilder;
import dev.sinter.graph.GraphBuilder.Layout;
import dev.sinter.graph.KvCache;
import dev.sinter.graph.Mask;
import dev.sinter.graph.PagedCache;
import dev.sinter.graph.ParameterSpec;
import dev.sinter.graph.Tensor;
import dev.sinter.graph.Weights;
import dev.sinter.model.Architecture.Names;
import dev.sinter.model.Architecture.Norm;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The blocks of an {@link Architecture}: their parameters, and how hidden states pass them. */
final class Blocks {
  private final Architecture of;

  Blocks(Architecture architecture) {
    this.of = architecture;
  }

  /** How a block attends to its own sequence: within the graph, or over a cache as well. */
  @FunctionalInterface
  interface SelfAttention {
    Tensor attend(String name, Tensor qkv, int layer);
  }

  /** How a block attends to an encoder's output: within the graph, or over a cache. */
  @FunctionalInterface
  interface CrossAttention {
    Tensor attend(String name, Tensor q, int layer);
  }

  /** Attention over the tokens of the graph alone; {@code lengths}: of the real ones, or null. */
  SelfAttention within(GraphBuilder g, Tensor lengths) {
    return (name, qkv, layer) ->
        g.attention(
            name,
            qkv,
            of.heads(),
            new Mask(of.causal(), of.window(layer), lengths, null),
            of.attentionDropout());
  }

  /** Attention over the tokens of each token's own sequence: several are packed into a row. */
  SelfAttention packed(GraphBuilder g, Tensor starts) {
    return (name, qkv, layer) ->
        g.attention(
            name,
            qkv,
            of.heads(),
            new Mask(of.causal(), of.window(layer), null, starts),
            of.attentionDropout());
  }

  /** Attention over the cache and the tokens of the graph, which are added to it. */
  SelfAttention cached(GraphBuilder g, KvCache cache) {
    return (name, qkv, layer) ->
        g.cachedAttention(name, qkv, cache, layer, of.heads(), of.window(layer));
  }

  /** Attention of rows of several sequences, each over the pages of its own. */
  SelfAttention paged(GraphBuilder g, PagedCache cache, Tensor slots, Tensor positions) {
    return (name, qkv, layer) ->
        g.pagedAttention(name, qkv, slots, positions, cache, layer, of.heads(), of.window(layer));
  }

  /** Attention to an encoder's hidden states [batch, source length, width]. */
  CrossAttention across(GraphBuilder g, Weights p, Tensor encoded, Tensor lengths) {
    return (name, q, layer) ->
        g.crossAttention(
            name,
            q,
            crossKv(g, p, encoded, layer),
            of.heads(),
            Mask.padding(lengths),
            of.attentionDropout());
  }

  /** Attention to an encoder's hidden states, whose keys and values the cache holds. */
  CrossAttention acrossCached(GraphBuilder g, KvCache cache) {
    return (name, q, layer) -> g.cachedCrossAttention(name, q, cache, layer, of.heads());
  }

  /** Puts the keys and values of an encoder's hidden states into a cache. */
  void fill(GraphBuilder g, Weights p, Tensor encoded, KvCache cache) {
    for (int i = 0; i < of.layers(); i++) {
      g.fillCache(crossKv(g, p, encoded, i), cache, i, of.heads());
    }
  }

  private Tensor crossKv(GraphBuilder g, Weights p, Tensor encoded, int layer) {
    Names names = of.names(layer);
    return linear(g, p, together(names.crossKv()), encoded, names, null);
  }

  /** The name of parameters that lie one after the other. */
  private static String together(List<String> names) {
    return String.join("+", names);
  }

  /** Adds the parameters of all blocks. */
  void addTo(List<ParameterSpec> all) {
    long d = of.width();
    for (int i = 0; i < of.layers(); i++) {
      Names n = of.names(i);
      addNorm(all, n.norm1(), d);
      addLinear(all, n, n.qkv(), d, 3 * d, of.deviation());
      addLinear(all, n, List.of(n.project()), d, d, of.residualDeviation());
      if (of.cross()) {
        addNorm(all, n.crossNorm(), d);
        addLinear(all, n, List.of(n.crossQuery()), d, d, of.deviation());
        addLinear(all, n, n.crossKv(), d, 2 * d, of.deviation());
        addLinear(all, n, List.of(n.crossProject()), d, d, of.residualDeviation());
      }
      addNorm(all, n.norm2(), d);
      addLinear(all, n, List.of(n.up()), d, of.inner(), of.deviation());
      addLinear(all, n, List.of(n.down()), of.inner(), d, of.residualDeviation());
    }
  }

  /** The weights of all linear layers, and their layout. */
  Map<String, Layout> matrices() {
    Map<String, Layout> all = new HashMap<>();
    for (int i = 0; i < of.layers(); i++) {
      Names n = of.names(i);
      List<String> linear =
          new ArrayList<>(List.of(together(n.qkv()), n.project(), n.up(), n.down()));
      if (of.cross()) {
        linear.addAll(List.of(n.crossQuery(), together(n.crossKv()), n.crossProject()));
      }
      linear.forEach(name -> all.put(name + ".weight", layout(n)));
    }
    return all;
  }

  /** The projections at the ends of all sub-layers. */
  List<String> projections() {
    List<String> all = new ArrayList<>();
    for (int i = 0; i < of.layers(); i++) {
      Names n = of.names(i);
      all.add(n.project());
      if (of.cross()) {
        all.add(n.crossProject());
      }
      all.add(n.down());
    }
    return all;
  }

  static void addNorm(List<ParameterSpec> all, String name, long width) {
    all.add(constant(name + ".weight", 1, width));
    all.add(constant(name + ".bias", 0, width));
  }

  private static void addLinear(
      List<ParameterSpec> all,
      Names names,
      List<String> parts,
      long in,
      long out,
      float deviation) {
    String name = together(parts);
    long[] shape = names.inByOut() ? new long[] {in, out} : new long[] {out, in};
    List<String> weights = parts.stream().map(part -> part + ".weight").toList();
    List<String> biases = parts.stream().map(part -> part + ".bias").toList();
    all.add(normal(name + ".weight", deviation, shape).inParts(weights));
    all.add(constant(name + ".bias", 0, out).inParts(biases));
  }

  /**
   * Passes hidden states through all blocks.
   *
   * @param x [batch, length, width]
   * @param cross null without cross-attention
   * @return like x; before the final norm where the family has one
   */
  Tensor forward(
      GraphBuilder g, Weights p, Tensor x, SelfAttention attention, CrossAttention cross) {
    for (int i = 0; i < of.layers(); i++) {
      x = block(g, p, g.checkpoint(x), i, attention, cross);
    }
    return g.checkpoint(x);
  }

  private Tensor block(
      GraphBuilder g,
      Weights p,
      Tensor x,
      int layer,
      SelfAttention attention,
      CrossAttention cross) {
    Names n = of.names(layer);
    x =
        subLayer(
            g,
            p,
            n,
            n.norm1(),
            n.project(),
            x,
            in ->
                attention.attend(
                    n.project() + " attention",
                    linear(g, p, together(n.qkv()), in, n, null),
                    layer));
    if (of.cross()) {
      x =
          subLayer(
              g,
              p,
              n,
              n.crossNorm(),
              n.crossProject(),
              x,
              in ->
                  cross.attend(
                      n.crossProject() + " attention",
                      linear(g, p, n.crossQuery(), in, n, null),
                      layer));
    }
    return subLayer(
        g,
        p,
        n,
        n.norm2(),
        n.down(),
        x,
        in ->
            g.linear(
                n.up(),
                in,
                p.get(n.up() + ".weight"),
                layout(n),
                p.get(n.up() + ".bias"),
                of.activation()));
  }

  @FunctionalInterface
  private interface Inner {
    Tensor of(Tensor in);
  }

  /** x + project(inner(x)), with the norm before or after and a bottleneck where there is one. */
  private Tensor subLayer(
      GraphBuilder g, Weights p, Names n, String norm, String project, Tensor x, Inner inner) {
    Tensor in = of.norm() == Norm.BEFORE ? norm(g, p, norm, x) : x;
    Tensor y = inner.of(in);
    Tensor sum;
    if (g.hasBottleneck(project)) {
      Tensor z = linear(g, p, project, y, n, null);
      if (g.drops(of.residualDropout())) {
        z = g.dropout(project + " dropout", z, of.residualDropout(), null);
      }
      sum = g.add(project + " sum", g.bottleneck(project, z), x);
    } else if (g.drops(of.residualDropout())) {
      sum =
          g.dropout(
              project + " dropout", linear(g, p, project, y, n, null), of.residualDropout(), x);
    } else {
      sum = linear(g, p, project, y, n, x);
    }
    return of.norm() == Norm.AFTER ? norm(g, p, norm, sum) : sum;
  }

  private static Layout layout(Names names) {
    return names.inByOut() ? Layout.IN_OUT : Layout.OUT_IN;
  }

  private static Tensor linear(
      GraphBuilder g, Weights p, String name, Tensor x, Names names, Tensor residual) {
    return g.linear(
        name, x, p.get(name + ".weight"), layout(names), p.get(name + ".bias"), residual);
  }

  /** Layer norm by a family's parameters {@code name.weight} and {@code name.bias}. */
  Tensor norm(GraphBuilder g, Weights p, String name, Tensor x) {
    return g.layerNorm(name, x, p.get(name + ".weight"), p.get(name + ".bias"), of.epsilon());
  }
}
