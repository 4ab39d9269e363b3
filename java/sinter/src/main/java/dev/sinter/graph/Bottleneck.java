package dev.sinter.graph;

/**
 * What stands behind a projection and its dropout, before the residual sum (Houlsby et al. 2019,
 * section 2.1): {@code y + up(activation(down(y)))}. The parameters are {@code down.weight} [size,
 * width], {@code down.bias} [size], {@code up.weight} [width, size] and {@code up.bias} [width].
 *
 * @param down name of the layer that narrows
 * @param up name of the layer that widens
 * @param activation between them
 */
public record Bottleneck(String down, String up, Activation activation) {}
