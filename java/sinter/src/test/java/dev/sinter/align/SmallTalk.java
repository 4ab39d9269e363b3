package dev.sinter.align;

import dev.sinter.align.Message.Role;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * A small world to talk about, with answers of mixed quality: polite or not, well-formed or not,
 * short or rambling, to the question or beside it. What a judge prefers is known, up to the errors
 * of the judgement.
 */
final class SmallTalk {
  private static final String[] THINGS = {
    "sky", "grass", "snow", "coal", "lemon", "rose", "sea", "sand", "milk", "night", "cloud",
    "leaf", "frog", "raven", "swan", "brick"
  };
  private static final String[] COLOURS = {
    "blue", "green", "white", "black", "yellow", "red", "blue", "yellow", "white", "black", "white",
    "green", "green", "black", "white", "red"
  };
  private static final String[] QUESTIONS = {
    "What colour is the %s?",
    "Tell me the colour of the %s.",
    "Which colour has the %s?",
    "How does the %s look?"
  };
  private static final String[] POLITE = {"Gladly. ", "Of course. "};
  private static final String[] RUDE = {"Why ask me? ", "Ugh. ", ""};
  private static final String[] RAMBLING = {
    " you know what i mean", " and so on and so on", " as i always say", " but who cares anyway"
  };

  private static final Pattern FORMED = Pattern.compile("(^|[.?] )The [a-z]+ is [a-z]+[a-z ]*\\.$");

  /** Chances that an answer of the mixed text, and of a demonstration, is good in one respect. */
  private static final double MIXED = 0.25;

  private static final double SHOWN = 0.3;

  /** How often an answer is about what was asked. */
  private static final double RIGHT = 0.6;

  /** How often a judge sees one respect wrongly. */
  private static final double ERROR = 0.1;

  private final Random random;

  SmallTalk(long seed) {
    random = new Random(seed);
  }

  /** All questions that can be asked, those held out left out, or only those. */
  static List<Conversation> prompts(boolean held) {
    List<Conversation> prompts = new ArrayList<>();
    for (int thing = 0; thing < THINGS.length; thing++) {
      for (int form = 0; form < QUESTIONS.length; form++) {
        if (isHeld(thing, form) == held) {
          prompts.add(Conversation.asking(question(thing, form)));
        }
      }
    }
    return prompts;
  }

  private static boolean isHeld(int thing, int form) {
    return thing % QUESTIONS.length == form;
  }

  private static String question(int thing, int form) {
    return String.format(QUESTIONS[form], THINGS[thing]);
  }

  /** In how many of four respects an answer is good. */
  static int goodness(Conversation prompt, String answer) {
    String asked = prompt.messages().get(0).content();
    boolean right =
        IntStream.range(0, THINGS.length)
            .anyMatch(
                i ->
                    asked.contains(THINGS[i])
                        && answer.contains(THINGS[i])
                        && answer.contains(COLOURS[i]));
    boolean polite = Arrays.stream(POLITE).anyMatch(answer::startsWith);
    boolean formed = FORMED.matcher(answer).find();
    boolean isShort = Arrays.stream(RAMBLING).noneMatch(answer::contains);
    return (right ? 1 : 0) + (polite ? 1 : 0) + (formed ? 1 : 0) + (isShort ? 1 : 0);
  }

  private String pick(String... choices) {
    return choices[random.nextInt(choices.length)];
  }

  private record Question(int thing, int form) {
    Conversation asked() {
      return Conversation.asking(question(thing, form));
    }
  }

  private Question ask(boolean held) {
    while (true) {
      int thing = random.nextInt(THINGS.length);
      int form = random.nextInt(QUESTIONS.length);
      if (isHeld(thing, form) == held) {
        return new Question(thing, form);
      }
    }
  }

  private String answer(int asked, double chance) {
    int thing = random.nextDouble() < RIGHT ? asked : random.nextInt(THINGS.length);
    boolean polite = random.nextDouble() < chance;
    boolean formed = random.nextDouble() < chance;
    boolean isShort = random.nextDouble() < chance;
    StringBuilder text = new StringBuilder(pick(polite ? POLITE : RUDE));
    String subject = THINGS[thing];
    String colour = COLOURS[thing];
    text.append(formed ? "The " + subject + " is " + colour : subject + " " + colour);
    if (!isShort) {
      for (int i = 1 + random.nextInt(2); i > 0; i--) {
        text.append(pick(RAMBLING));
      }
    }
    return text.append(formed ? "." : "").toString();
  }

  /** Answered questions of mixed quality, some with a sentence before them. */
  List<Conversation> text(int count, boolean held) {
    List<Conversation> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      Question question = ask(held);
      Conversation asked = question.asked();
      if (random.nextInt(3) == 0) {
        int one = random.nextInt(THINGS.length);
        String seen = "The " + THINGS[one] + " i saw was " + COLOURS[one] + ".";
        asked = new Conversation(List.of(new Message(Role.SYSTEM, seen), asked.messages().get(0)));
      }
      all.add(asked.then(Role.ASSISTANT, answer(question.thing, MIXED)));
    }
    return all;
  }

  /** Conversations to learn from. */
  List<Conversation> demonstrations(int count, boolean held) {
    List<Conversation> all = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      Question question = ask(held);
      all.add(question.asked().then(Role.ASSISTANT, answer(question.thing, SHOWN)));
    }
    return all;
  }

  /** Four answers to each question, as a judge ranks them who errs at times. */
  List<Ranking> rankings(int count, boolean held) {
    List<Ranking> all = new ArrayList<>();
    while (all.size() < count) {
      Question question = ask(held);
      List<String> answers =
          IntStream.range(0, 4).mapToObj(i -> answer(question.thing, 0.5)).toList();
      List<Integer> ranks =
          answers.stream().map(answer -> 4 - judged(question.asked(), answer)).toList();
      if (ranks.stream().distinct().count() > 1) {
        all.add(new Ranking(question.asked(), answers, ranks));
      }
    }
    return all;
  }

  private int judged(Conversation prompt, String answer) {
    int seen = goodness(prompt, answer);
    if (random.nextDouble() < 3 * ERROR) {
      seen += random.nextBoolean() ? 1 : -1;
    }
    return Math.max(0, Math.min(4, seen));
  }
}
