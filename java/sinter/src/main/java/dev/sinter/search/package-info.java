/**
 * Search for hyper-parameters: a space of options, the trials that are drawn from it, and how far
 * each is trained. It knows nothing of models: an {@link dev.sinter.search.Objective} trains.
 */
package dev.sinter.search;
