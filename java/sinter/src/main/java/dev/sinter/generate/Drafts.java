package dev.sinter.generate;

import java.util.ArrayList;
import java.util.List;

/**
 * Proposals of a draft model, for all sequences together. Its cache has the pages of the target's,
 * by number, so that it shares what that shares; it draws with the target's own seeds and steps, so
 * that where both models agree, so do the tokens.
 */
final class Drafts {
  private final Steps draft;
  private final int pageSize;

  Drafts(Steps draft) {
    this.draft = draft;
    this.pageSize = draft.pageSize();
  }

  /**
   * Fills the proposals of jobs, each as long as its {@code guesses} says; makes that less where it
   * proposes less, and 0 where it must first see more of the sequence.
   */
  void propose(List<Job> jobs) {
    List<Job> drafting = catchUp(jobs);
    for (int i = 1; !drafting.isEmpty(); i++) {
      int at = i;
      drafting.removeIf(job -> job.guesses <= at);
      if (!drafting.isEmpty()) {
        extend(drafting, at);
      }
    }
  }

  /** Computes what the draft has not seen, and draws the first token of each proposal. */
  private List<Job> catchUp(List<Job> jobs) {
    draft.begin();
    int room = draft.maxRows();
    List<Job> drafting = new ArrayList<>();
    for (Job job : jobs) {
      skipDrafted(job);
      int end = Math.min(job.length(), job.drafted + room);
      int row = -1;
      for (int at = job.drafted; at < end; at++) {
        row = draft.add(job.slot, at, job.ids()[at]);
      }
      room -= end - job.drafted;
      markDrafted(job, end);
      if (row >= 0 && end == job.length()) {
        draft.choose(row, job.how(), job.seed(), job.step(), end);
        job.row = row;
        drafting.add(job);
      } else {
        job.guesses = 0;
      }
    }
    draft.run();
    drafting.forEach(job -> take(job, 0));
    return drafting;
  }

  /** The pages that the draft has from other sequences; of the last token the row is needed. */
  private void skipDrafted(Job job) {
    while (job.drafted % pageSize == 0
        && job.drafted + pageSize < job.length()
        && job.pages.get(job.drafted / pageSize).drafted()) {
      job.drafted += pageSize;
    }
  }

  private void markDrafted(Job job, int end) {
    for (int page = job.drafted / pageSize; page < end / pageSize; page++) {
      job.pages.get(page).setDrafted();
    }
    job.drafted = end;
  }

  private void extend(List<Job> drafting, int at) {
    for (Job job : drafting) {
      if (job.remembered()) {
        draft.setToken(job.slot, job.length() + at - 1, job.proposal[at - 1]);
      }
    }
    draft.begin();
    for (Job job : drafting) {
      int position = job.length() + at - 1;
      job.row = draft.add(job.slot, position, job.proposal[at - 1]);
      draft.choose(job.row, job.how(), job.seed(), job.step() + at, position + 1);
    }
    draft.run();
    drafting.forEach(job -> take(job, at));
  }

  private void take(Job job, int at) {
    job.proposal[at] = draft.token(job.row);
    if (job.proposal[at] < 0) { // a damaged draft proposes nothing
      job.guesses = at;
    }
  }

  /** Notes how much of a proposal the target accepted: so much of the draft's cache is right. */
  void accepted(Job job, int before, int right) {
    job.drafted = Math.min(before + right, before + job.guesses - 1);
  }
}
