/** Files: written whole or not at all, and formats that others read. */
package dev.sinter.io;
