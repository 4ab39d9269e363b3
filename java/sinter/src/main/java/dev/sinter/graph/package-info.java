/**
 * Devices, tensors, and graphs of operations: traced once per shape, differentiated in reverse,
 * planned into one arena, then run without allocating. The only package that calls native code.
 */
package dev.sinter.graph;
