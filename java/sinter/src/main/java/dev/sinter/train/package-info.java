/** Training: the loop, its optimizer and schedule, and the state that a run can be resumed from. */
package dev.sinter.train;
