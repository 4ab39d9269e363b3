/**
 * From a language model to one that answers, in the three steps of GPT-3.5 (Ouyang et al. 2022):
 * supervised tuning on conversations, a reward model from rankings, and reinforcement learning
 * against it; direct preference optimisation takes the place of the last two. Losses that compare
 * sequences are computed here, in double precision; graphs give log-probabilities, values and
 * rewards, and take the gradients.
 */
package dev.sinter.align;
