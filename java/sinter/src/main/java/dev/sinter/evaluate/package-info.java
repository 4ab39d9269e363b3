/** How good a model is. */
package dev.sinter.evaluate;
