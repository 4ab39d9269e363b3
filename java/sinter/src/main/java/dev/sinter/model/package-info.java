/** Models: what their layers are, how they are traced into graphs, and how they are stored. */
package dev.sinter.model;
