package dev.sinter.generate;

/**
 * What an engine does and has done.
 *
 * @param running requests that have a slot
 * @param waiting requests in the queue, those that were preempted included
 * @param usedPages pages of the cache that requests hold
 * @param cachedPages pages that none holds, kept for prompts that begin alike
 * @param freePages pages that hold nothing
 * @param steps computed
 * @param promptTokens of all prompts begun
 * @param cachedTokens tokens of those prompts that the cache had
 * @param generatedTokens chosen by the model
 * @param proposedTokens by speculation
 * @param acceptedTokens of the proposed ones, those that the model chose as well
 * @param completed requests that came to their end
 * @param cancelled requests that were cancelled
 * @param failed requests that ended with an exception
 * @param refused requests that the full queue did not take
 * @param preempted times that a request had to give its pages back and was computed again
 */
public record EngineStats(
    int running,
    int waiting,
    int usedPages,
    int cachedPages,
    int freePages,
    long steps,
    long promptTokens,
    long cachedTokens,
    long generatedTokens,
    long proposedTokens,
    long acceptedTokens,
    long completed,
    long cancelled,
    long failed,
    long refused,
    long preempted) {

  /** With the queue's part. */
  EngineStats queued(int more, long refusals) {
    return new EngineStats(
        running,
        waiting + more,
        usedPages,
        cachedPages,
        freePages,
        steps,
        promptTokens,
        cachedTokens,
        generatedTokens,
        proposedTokens,
        acceptedTokens,
        completed,
        cancelled,
        failed,
        refusals,
        preempted);
  }
}
