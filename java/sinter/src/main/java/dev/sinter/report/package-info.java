/**
 * What a run leaves behind: {@link dev.sinter.report.RunRecord} is the file, {@link
 * dev.sinter.report.HtmlReport} the page made of it, or of several runs side by side.
 */
package dev.sinter.report;
