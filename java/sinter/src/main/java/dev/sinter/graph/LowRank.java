package dev.sinter.graph;

/**
 * A low-rank update of the product with a weight (Hu et al. 2022, eq. 3): some columns of the
 * result have {@code factor * (x A^T * e) B^T} added.
 *
 * @param a name of A [rank, in] among the added parameters
 * @param b name of B [columns, rank]
 * @param scale name of e [rank] or [rank, 1], the singular values (Zhang et al. 2023, eq. 2); null:
 *     ones
 * @param factor of the update
 * @param dropout probability that an element of x is dropped before A, in training
 * @param column the first of the result's columns that it is added to
 * @param columns how many
 */
public record LowRank(
    String a, String b, String scale, float factor, float dropout, long column, long columns) {}
