/**
 * Decoding: how tokens are chosen, how text streams, and when it ends.
 *
 * <p>{@link dev.sinter.generate.Engine} completes many {@link dev.sinter.generate.Request}s at once
 * over one packed model: it is what services call. {@link dev.sinter.generate.TokenStream}, {@link
 * dev.sinter.generate.Batch} and {@link dev.sinter.generate.BeamSearch} decode with the weights of
 * a model that may still be trained.
 */
package dev.sinter.generate;
