/**
 * From a pre-trained model to one that does a task: {@link dev.sinter.finetune.FineTuner} trains, a
 * {@link dev.sinter.finetune.Predictor} runs what it left. A {@link dev.sinter.finetune.Task} knows
 * its data, its head and its metrics.
 */
package dev.sinter.finetune;
