#!/usr/bin/env python3
"""Makes the golden file of ReportsGoldenTest: the tables that scikit-learn, seqeval and conlleval print, and calibration.

    python3 tests/goldens/reports.py --conlleval conlleval

needs numpy, scikit-learn, seqeval, perl, and conlleval, the perl script of the CoNLL-2000 shared task.
"""
import argparse
import json
import pathlib
import random
import re
import subprocess
import warnings

import numpy as np
from seqeval.metrics import classification_report as entity_report
from seqeval.scheme import IOB2
from sklearn import metrics
from sklearn.calibration import calibration_curve

FILE = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/evaluate/reports.json"

# Right and predicted tags, a line a sentence: IOB2, IOB1, and what is well-formed in neither.
SENTENCES = {
    "iob2": [("B-ORG O B-MISC O O O B-MISC O O", "B-ORG O B-MISC O O O B-MISC O O"),
             ("B-PER I-PER", "B-PER I-PER"), ("B-LOC O", "O O"), ("O B-LOC I-LOC I-LOC O", "O B-LOC B-LOC I-LOC O"),
             ("B-PER B-PER I-PER", "B-PER I-PER I-PER"), ("O O O", "O B-TIME O")],
    "iob1": [("I-ORG O I-MISC O O O I-MISC O O", "I-ORG O I-MISC O O O I-MISC O O"),
             ("I-PER I-PER", "I-PER I-PER"), ("I-LOC O", "O O"), ("O I-LOC I-LOC B-LOC O", "O I-LOC B-LOC I-LOC O"),
             ("I-PER B-PER I-PER", "I-PER I-PER I-PER"), ("O O O", "O I-TIME O")],
    "ill-formed": [("B-PER I-PER O I-LOC I-LOC", "I-PER I-PER O I-LOC B-LOC"), ("O I-PER B-LOC I-PER", "O I-PER I-LOC I-PER"),
                   ("I-LOC I-PER I-LOC", "B-LOC I-PER I-LOC"), ("B-PER I-LOC", "B-PER I-PER"), ("I-PER", "B-PER")],
    "nothing found": [("B-PER I-PER O", "O O O"), ("B-LOC", "O")],
    "nothing right": [("B-PER O O", "B-LOC O O"), ("O O B-PER", "O B-PER I-PER")],
    "nothing there": [("O O", "B-PER O"), ("O", "O")],
    "hyphens": [("B-A-B I-A-B O B-A", "B-A-B I-A-B O B-A-B"), ("B-A I-A-B", "B-A I-A")],
    "unicode": [("B-Ort I-Ort O B-Straße B-地名", "B-Ort O O B-Straße B-地名"), ("B-😀 B-ｱ O", "B-ｱ B-😀 O")],
    "long": [("B-" + "X" * 30 + " O", "B-" + "X" * 30 + " B-Y")],
    # 1 of 8, of 16 and of 32: what is printed lies in the middle of two numbers.
    "halves": [("B-A " * 8 + "B-B " * 16 + "B-C " * 32, "B-A " + "O " * 7 + "B-B " + "O " * 15 + "B-C " + "O " * 31)],
}
CLASSES = [("yes no no yes maybe", "yes yes no yes no"), ("a a a", "a a a"), ("a b", "b a"), ("x x y", "x x x"),
           ("é 😀 ｱ 地名 é", "é ｱ 😀 地名 😀"), ("O O B-PER I-PER O", "O B-PER O I-PER O"), ("O O", "B-X O"),
           ("a " + "b " * 7, "a " * 8), ("a " + "b " * 31, "a " * 32), ("l" * 40 + " m", "m m")]


def conlleval(script, gold, predicted):
    lines = []
    for right, guessed in zip(gold, predicted):
        lines += [f"w {a} {b}" for a, b in zip(right, guessed)] + [""]
    return subprocess.run(["perl", "-CSD", script], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True,
                          encoding="utf-8").stdout


def entities(numbers, script):
    pairs = list(SENTENCES.values())
    for _ in range(25):
        types = numbers.sample(["PER", "LOC", "ORG", "MISC", "Zeit", "B-C"], numbers.randint(1, 6))
        tags = ["O", "O"] + [prefix + "-" + name for name in types for prefix in "BI"]
        sentences = []
        for _ in range(numbers.randint(1, 9)):
            gold = numbers.choices(tags, k=numbers.randint(1, 12))
            predicted = [tag if numbers.random() < 0.8 else numbers.choice(tags) for tag in gold]
            sentences.append((" ".join(gold), " ".join(predicted)))
        pairs.append(sentences)
    cases = []
    for sentences in pairs:
        gold, predicted = ([line.split() for line in side] for side in zip(*sentences))
        assert list(map(len, gold)) == list(map(len, predicted))
        case = {"gold": [" ".join(tags) for tags in gold], "predicted": [" ".join(tags) for tags in predicted],
                "conlleval": conlleval(script, gold, predicted)}
        for name, options in {"conll": {}, "iob2": {"mode": "strict", "scheme": IOB2}}.items():
            try:
                # Its F1, made of rounded precision and recall, may fall on the other side of 0.875; six digits show no such middle.
                case[name] = entity_report(gold, predicted, digits=6, **options)
            except ValueError as no_types:  # of which seqeval prints no table
                assert "empty" in str(no_types), no_types
        cases.append(case)
    return cases


def report(*arguments, **options):
    """Where nothing is right, scikit-learn prints supports as 1.0: here as always."""
    table = metrics.classification_report(*arguments, zero_division=0, **options)
    return re.sub(r"\d+\.0$", lambda support: support[0][:-2].rjust(len(support[0])), table, flags=re.M)


def classes(numbers):
    pairs = [tuple(side.split() for side in pair) for pair in CLASSES]
    for _ in range(25):
        labels = numbers.sample(["O", "B", "c", "é", "yes", "no", "10", "9", "B-PER", "I-PER", "ｱ", "😀"], numbers.randint(1, 12))
        gold = numbers.choices(labels, k=numbers.randint(1, 60))
        pairs.append((gold, [label if numbers.random() < 0.7 else numbers.choice(labels) for label in gold]))
    cases = []
    for gold, predicted in pairs:
        seen = sorted(set(gold) | set(predicted))
        case = {"gold": " ".join(gold), "predicted": " ".join(predicted),
                "table": [report(gold, predicted, digits=digits) for digits in (2, 4, 13)]}
        rest = [label for label in seen if label != "O"]
        if rest != seen and rest:
            case["without O"] = report(gold, predicted, labels=rest, digits=3)
        # Labels that a model has and the data has not.
        known = seen + ["never", "nie"]
        numbers.shuffle(known)
        case["known"] = " ".join(known)
        case["confusion"] = metrics.confusion_matrix(gold, predicted, labels=known).tolist()
        case["known table"] = report(gold, predicted, labels=sorted(known))
        cases.append(case)
    return cases


def expected_error(probabilities, correct, bins):
    """Guo et al. 2017, equation 3, bin by bin."""
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for i in range(bins):
        inside = (probabilities > edges[i]) & (probabilities <= edges[i + 1])
        if i == 0:
            inside |= probabilities == 0
        if inside.any():
            error += inside.sum() / len(probabilities) * abs(correct[inside].mean() - probabilities[inside].mean())
    return error


def calibration(numbers):
    cases = []
    for case in range(20):
        count = numbers.choice([1, 2, 7, 60])
        if case % 4 == 0:  # on the edges
            probabilities = [numbers.randint(0, 30) / 30 if case % 8 else numbers.randint(0, 10) / 10 for _ in range(count)]
        elif case % 4 == 1:  # next to them
            probabilities = [min(1.0, max(0.0, float(np.nextafter(numbers.randint(0, 10) * 0.1, numbers.choice([-1, 2])))))
                             for _ in range(count)]
        else:
            probabilities = [numbers.random() for _ in range(count)]
        correct = [int(numbers.random() < p) for p in probabilities]
        p, c = np.array(probabilities), np.array(correct)
        for bins in (10, 15):
            shares, means = calibration_curve(c, p, n_bins=bins, strategy="uniform")
            cases.append({"bins": bins, "probabilities": probabilities, "correct": correct,
                          "shares": shares.tolist(), "means": means.tolist(),
                          "error": float(expected_error(p, c, bins)), "brier": float(np.mean((p - c) ** 2)),
                          "scikit-learn's brier": float(metrics.brier_score_loss(c, p, pos_label=1))})
    return cases


def reciprocal_ranks(numbers):
    """Of one relevant document a query, the reciprocal rank is scikit-learn's label ranking average precision."""
    cases = []
    for _ in range(20):
        queries, documents = numbers.randint(1, 6), numbers.randint(2, 12)
        relevant = [numbers.randrange(documents) for _ in range(queries)]
        scores = [numbers.sample(range(100), documents) for _ in range(queries)]
        truth = np.eye(documents, dtype=int)[relevant]
        cases.append({"relevant": relevant, "scores": scores,
                      "mrr": float(metrics.label_ranking_average_precision_score(truth, np.array(scores)))})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conlleval", required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    numbers = random.Random(6)
    golden = {"entities": entities(numbers, options.conlleval), "classes": classes(numbers), "calibration": calibration(numbers),
              "reciprocal ranks": reciprocal_ranks(numbers)}
    FILE.write_text(json.dumps(golden, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
