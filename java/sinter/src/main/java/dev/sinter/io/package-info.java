/**
 * Files: safetensors in and out, GGUF in, whole files and folders replaced atomically, and the
 * metrics of a run as CSV and as TensorBoard events. Knows nothing of models or devices.
 *
 * <p>What a file holds is never trusted: sizes are checked against the file before anything is
 * allocated, and whatever is wrong is a {@link dev.sinter.io.FormatException} of one line that
 * names the file, what is wrong, and what to do.
 */
package dev.sinter.io;
