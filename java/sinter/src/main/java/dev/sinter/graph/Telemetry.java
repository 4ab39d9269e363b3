package dev.sinter.graph;

/**
 * What NVIDIA's management library says of a GPU at one moment; -1 or an empty text where it does
 * not say.
 *
 * @param driver version of the driver
 * @param utilization percent of the time in which a kernel ran
 * @param usedBytes of the GPU's memory, by all processes
 * @param watts power drawn
 * @param celsius temperature
 * @param megahertz clock of the multiprocessors
 * @param memoryMegahertz clock of the memory
 */
public record Telemetry(
    String driver,
    int utilization,
    long usedBytes,
    double watts,
    int celsius,
    int megahertz,
    int memoryMegahertz) {}
