/**
 * Tokens on disk and in memory, and the order in which training sees them; tables of rows with
 * named columns.
 */
package dev.sinter.data;
