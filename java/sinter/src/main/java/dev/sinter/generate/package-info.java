/** Decoding: how tokens are chosen, how text streams, and when it ends. */
package dev.sinter.generate;
