/** Text to tokens and back. */
package dev.sinter.text;
