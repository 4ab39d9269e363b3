/** The command line: thin commands over the library. */
package dev.sinter.cli;
