package dev.sinter.generate;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Who holds which page of a cache. A page whose tokens are all known can be shared: it then stands
 * in a tree, below the page of the tokens before it, where sequences that begin alike find it
 * (Zheng et al. 2024, section 3). Nobody holding it any more, it stays there until its place is
 * needed: the page that was given back first goes first. As a sequence holds a page only with all
 * before it, and gives the last back first, that one is always a leaf.
 */
final class PagePool {
  /** A page of the cache. */
  static final class Page {
    private final int number;
    private final Map<Tokens, Page> next = new HashMap<>();
    private int holders;
    private Map<Tokens, Page> in; // the branch of the tree that has it; null: not shared
    private Tokens tokens;
    private boolean drafted;

    private Page(int number) {
      this.number = number;
    }

    /** Its number in the cache. */
    int number() {
      return number;
    }

    /** Whether a draft model's cache has it as well. */
    boolean drafted() {
      return drafted;
    }

    void setDrafted() {
      drafted = true;
    }
  }

  /** Tokens of a page, compared one by one. */
  private static final class Tokens {
    private final int[] ids;

    Tokens(int[] ids) {
      this.ids = ids;
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Tokens that && Arrays.equals(ids, that.ids);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(ids);
    }
  }

  private final int pages;
  private final int pageSize;
  private final Deque<Page> free = new ArrayDeque<>();
  private final Set<Page> idle = new LinkedHashSet<>(); // shared, held by none, oldest first
  private final Map<Tokens, Page> roots = new HashMap<>();

  PagePool(int pages, int pageSize) {
    this.pages = pages;
    this.pageSize = pageSize;
    for (int number = 0; number < pages; number++) {
      free.add(new Page(number));
    }
  }

  /** A page for one holder, whatever it holds; null where all are held. */
  Page allocate() {
    Page page = free.poll();
    if (page == null && !idle.isEmpty()) {
      page = idle.iterator().next();
      idle.remove(page);
      forget(page);
    }
    if (page != null) {
      page.holders = 1;
    }
    return page;
  }

  private static void forget(Page page) {
    page.in.remove(page.tokens);
    page.in = null;
    page.tokens = null;
    page.drafted = false;
  }

  /**
   * Finds a shared page.
   *
   * @param before the shared page of the tokens before it, or a {@link #root}; null: none
   * @param ids the sequence's
   * @param from the place of the page's first token
   * @return null where there is none; to be held, it is to be retained
   */
  Page find(Page before, int[] ids, int from) {
    return branch(before).get(tokens(ids, from));
  }

  /** A place of its own for first pages: what is shared below it nothing else finds. */
  static Page root() {
    return new Page(-1);
  }

  /** Forgets what pages below a root hold, none of which is held. */
  void forgetBelow(Page root) {
    List<Page> below = new ArrayList<>(root.next.values());
    for (int i = 0; i < below.size(); i++) {
      below.addAll(below.get(i).next.values());
    }
    for (Page page : below) {
      idle.remove(page);
      forget(page);
      free.push(page);
    }
  }

  private Map<Tokens, Page> branch(Page before) {
    return before == null ? roots : before.next;
  }

  private Tokens tokens(int[] ids, int from) {
    return new Tokens(Arrays.copyOfRange(ids, from, from + pageSize));
  }

  /** Adds a holder. */
  void retain(Page page) {
    if (page.holders++ == 0) {
      idle.remove(page);
    }
  }

  /**
   * Shares a page of one holder, who has shared the one before it.
   *
   * @return the page that its holder has from now on: another where these tokens had one
   */
  Page share(Page before, Page page, int[] ids, int from) {
    Page there = find(before, ids, from);
    if (there != null) {
      retain(there);
      release(page);
      return there;
    }
    page.in = branch(before);
    page.tokens = tokens(ids, from);
    page.in.put(page.tokens, page);
    return page;
  }

  /** Takes a holder away; a sequence gives its last page back first. */
  void release(Page page) {
    if (--page.holders > 0) {
      return;
    }
    if (page.in == null) {
      page.drafted = false;
      free.push(page);
    } else {
      idle.add(page);
    }
  }

  /** Forgets what pages hold that nobody holds. */
  void clear() {
    for (Page page : idle) {
      forget(page);
      free.push(page);
    }
    idle.clear();
  }

  /** Whether a page is held. */
  static boolean held(Page page) {
    return page.holders > 0;
  }

  int free() {
    return free.size();
  }

  /** Pages that nobody holds but that still can be found. */
  int cached() {
    return idle.size();
  }

  int used() {
    return pages - free.size() - idle.size();
  }

  /** Pages that can be had. */
  int available() {
    return free.size() + idle.size();
  }

  /** Pages of so many positions. */
  int pagesFor(int positions) {
    return (positions + pageSize - 1) / pageSize;
  }
}
