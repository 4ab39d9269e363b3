/** Tokens on disk and in memory, and the order in which training sees them. */
package dev.sinter.data;
