/** JMH benchmarks of what Java does around the kernels. */
package dev.sinter.benchmark;
