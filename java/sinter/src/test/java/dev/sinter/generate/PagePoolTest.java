package dev.sinter.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;

import dev.sinter.generate.PagePool.Page;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Pages are held, shared, kept and given away by the rules. */
class PagePoolTest {
  private static int[] ids(int... ids) {
    return ids;
  }

  @Test
  void eachPageIsGivenOnce() {
    PagePool pool = new PagePool(5, 4);
    Set<Integer> numbers = new HashSet<>();
    for (int i = 0; i < 5; i++) {
      numbers.add(pool.allocate().number());
    }
    assertEquals(Set.of(0, 1, 2, 3, 4), numbers);
    assertNull(pool.allocate());
    assertEquals(5, pool.used());
  }

  @Test
  void pagesAreFoundByTheirTokensAndAllBeforeThem() {
    PagePool pool = new PagePool(4, 2);
    Page first = pool.share(null, pool.allocate(), ids(1, 2, 3, 4), 0);
    Page second = pool.share(first, pool.allocate(), ids(1, 2, 3, 4), 2);
    assertSame(first, pool.find(null, ids(1, 2, 9), 0));
    assertSame(second, pool.find(first, ids(7, 7, 3, 4), 2));
    assertNull(pool.find(null, ids(3, 4), 0));
    assertNull(pool.find(second, ids(3, 4), 0));
    assertNull(pool.find(first, ids(3, 5), 0));
  }

  @Test
  void pagesBelowARootAreItsOwn() {
    PagePool pool = new PagePool(5, 2);
    Page root = PagePool.root();
    Page other = PagePool.root();
    int[] text = ids(1, 2, 3, 4);
    Page shared = pool.share(null, pool.allocate(), text, 0);
    Page first = pool.share(root, pool.allocate(), text, 0);
    Page second = pool.share(first, pool.allocate(), text, 2);
    assertNotSame(shared, first);
    assertSame(shared, pool.find(null, text, 0));
    assertSame(first, pool.find(root, text, 0));
    assertSame(second, pool.find(first, text, 2));
    assertNull(pool.find(other, text, 0));
    for (Page page : List.of(second, first, shared)) {
      pool.release(page);
    }
    assertEquals(3, pool.cached());
    pool.forgetBelow(root);
    assertNull(pool.find(root, text, 0));
    assertSame(shared, pool.find(null, text, 0));
    assertEquals(1, pool.cached());
    assertEquals(4, pool.free());
  }

  @Test
  void tokensOfOneHashAreNotTheSame() {
    PagePool pool = new PagePool(2, 2);
    assertEquals(Arrays.hashCode(ids(0, 31)), Arrays.hashCode(ids(1, 0)));
    pool.share(null, pool.allocate(), ids(0, 31), 0);
    assertNull(pool.find(null, ids(1, 0), 0));
  }

  @Test
  void aPageWithTheTokensOfAnotherGivesWay() {
    PagePool pool = new PagePool(2, 2);
    Page mine = pool.share(null, pool.allocate(), ids(5, 6), 0);
    Page other = pool.allocate();
    assertSame(mine, pool.share(null, other, ids(5, 6), 0));
    assertEquals(1, pool.used());
    pool.release(mine);
    assertEquals(1, pool.used());
    pool.release(mine);
    assertEquals(0, pool.used());
    assertEquals(1, pool.cached());
  }

  @Test
  void whatWasGivenBackFirstGoesFirstAndLeavesGoBeforeBranches() {
    PagePool pool = new PagePool(3, 1);
    Page old = pool.share(null, pool.allocate(), ids(1), 0);
    Page branch = pool.share(null, pool.allocate(), ids(2, 3), 0);
    Page leaf = pool.share(branch, pool.allocate(), ids(2, 3), 1);
    leaf.setDrafted();
    pool.release(leaf);
    pool.release(branch);
    pool.release(old);
    assertEquals(3, pool.cached());
    assertSame(leaf, pool.allocate());
    assertFalse(leaf.drafted());
    assertNull(pool.find(branch, ids(2, 3), 1));
    assertNotNull(pool.find(null, ids(2), 0));
    pool.retain(branch);
    assertSame(old, pool.allocate());
    assertNull(pool.allocate());
    assertNull(pool.find(null, ids(1), 0));
  }

  @Test
  void whatIsClearedIsNotFoundAgain() {
    PagePool pool = new PagePool(2, 1);
    Page page = pool.share(null, pool.allocate(), ids(1), 0);
    pool.release(page);
    pool.clear();
    assertNull(pool.find(null, ids(1), 0));
    assertEquals(2, pool.free());
  }

  /** Sequences of few tokens come and go; a list of who holds what says what must be. */
  @Test
  void noPageIsLostNorGivenWhileItIsHeld() {
    Random random = new Random(2);
    PagePool pool = new PagePool(23, 2);
    List<List<Page>> sequences = new ArrayList<>();
    for (int turn = 0; turn < 20_000; turn++) {
      if (random.nextBoolean()) {
        int[] ids = random.ints(1 + random.nextInt(9), 0, 3).toArray();
        List<Page> pages = new ArrayList<>();
        Page before = null;
        for (int at = 0; at + 2 <= ids.length; at += 2) {
          Page found = pool.find(before, ids, at);
          if (found != null) {
            pool.retain(found);
          } else {
            found = pool.allocate();
            if (found == null) {
              break;
            }
            for (List<Page> other : sequences) {
              for (Page held : other) {
                assertNotSame(held, found);
              }
            }
            found = pool.share(before, found, ids, at);
          }
          pages.add(found);
          before = found;
        }
        sequences.add(pages);
      } else if (!sequences.isEmpty()) {
        List<Page> pages = sequences.remove(random.nextInt(sequences.size()));
        for (int i = pages.size() - 1; i >= 0; i--) {
          pool.release(pages.get(i));
        }
      }
      Map<Page, Integer> holders = new HashMap<>();
      sequences.forEach(pages -> pages.forEach(page -> holders.merge(page, 1, Integer::sum)));
      assertEquals(holders.size(), pool.used());
      assertEquals(23, pool.used() + pool.cached() + pool.free());
    }
  }
}
