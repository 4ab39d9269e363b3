#!/usr/bin/env python3
"""Makes the golden file of MetricsGoldenTest: seeded random inputs of every metric, and what the field's own programs make of
them.

    python3 tests/goldens/metrics.py --squad evaluate-v2.0.py --conlleval conlleval

needs numpy, sacrebleu, scikit-learn, scipy, seqeval, perl, SQuAD's evaluation script of version 2, and conlleval, the perl script
of the CoNLL-2000 shared task. The data is packed: texts and tags are joined by "|" and blanks, so that the file stays small.
"""
import argparse
import importlib.util
import json
import pathlib
import random
import re
import subprocess
import warnings

import numpy as np
import sacrebleu
from scipy import stats
from seqeval.metrics import classification_report as entity_report
from seqeval.scheme import IOB2
from sklearn import metrics

FILE = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/evaluate/metrics.json"
WORDS = ["the", "The", "a", "an", "cat", "sat", "on", "mat", "don't", "e-mail", "3.14", "1,000", "10-20", "U.S.", "end.", "x,y",
         "-", "--", "(", ")", "\"q\"", "&amp;", "&lt;b&gt;", "&quot;", "<skipped>", "50%", "$5", "a/b", "é", "naïve", "東京", "—",
         "…", "٣", "²", "a_b", "[x]", "{y}", "`z`", "~", "'s", "'", ".5", "5.", ",", ".", "!?", "no-\nbreak", "new\nline", "3-", "-3"]
SPACES = [" ", " ", " ", " ", "  ", "\t", "\u00a0", "\u3000", ""]


def text(numbers, most, words=WORDS):
    return "".join(numbers.choice(words) + numbers.choice(SPACES) for _ in range(numbers.randint(0, most)))


def changed(numbers, line, words=WORDS):
    """A text like another: what a score between 0 and 1 comes from."""
    parts = line.split(" ")
    for i in range(len(parts)):
        if numbers.random() < 0.2:
            parts[i] = numbers.choice(words + [""])
    return " ".join(parts)


def tokens(numbers):
    tokenizer = sacrebleu.metrics.BLEU().tokenizer
    lines = [text(numbers, 8) for _ in range(150)] + ["".join(numbers.choices("aZ09 .,-'&/\n<>;é", k=12)) for _ in range(150)]
    return [[line, tokenizer(line.rstrip())] for line in lines]


def bleu(numbers):
    cases = []
    for case in range(60):
        segments, counts = numbers.randint(1, 4), numbers.randint(1, 3)
        references = [[text(numbers, 14) for _ in range(counts if case % 5 else numbers.randint(1, 3))] for _ in range(segments)]
        hypotheses = [changed(numbers, numbers.choice(own)) if numbers.random() < 0.9 else text(numbers, 6) for own in references]
        most = max(map(len, references))
        streams = [[own[i] if i < len(own) else None for own in references] for i in range(most)]
        metric = sacrebleu.metrics.BLEU()
        score = metric.corpus_score(hypotheses, streams)
        signature = str(metric.get_signature()).rsplit("|version", 1)[0]
        cases.append({"hypotheses": hypotheses, "references": references, "bleu": score.score, "precisions": score.precisions,
                      "bp": score.bp, "lengths": [score.sys_len, score.ref_len], "matches": score.counts, "totals": score.totals,
                      "signature": signature})
    return cases


def squad(numbers, script):
    spec = importlib.util.spec_from_file_location("squad", script)
    official = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(official)
    words = ["the", "The", "a", "an", "cat", "cats", "A.", "Ann", "the-cat", "U.S.", "é", "a\u0301", "a\u00a0b", "THE", "İ", "ß", "3", "²", "!",
             "«a»", "—a—", "a_b", "the,", "ÀÉ", ""]
    pairs = []
    for _ in range(200):
        gold = text(numbers, 5, words)
        prediction = changed(numbers, gold, words) if numbers.random() < 0.7 else text(numbers, 4, words)
        pairs.append([prediction, gold, official.normalize_answer(prediction), official.compute_exact(gold, prediction),
                      official.compute_f1(gold, prediction)])
    sets = []
    for _ in range(20):
        golds = [[text(numbers, 4, words) for _ in range(numbers.choice([0, 1, 1, 2, 3]))] for _ in range(numbers.randint(2, 8))]
        golds[0], golds[1] = [], golds[1] or ["cat"]
        predictions = ["" if numbers.random() < 0.3 else changed(numbers, numbers.choice(own or ["cat"]), words) for own in golds]
        data = [{"paragraphs": [{"qas": [{"id": str(i), "answers": [{"text": answer} for answer in own]}
                                         for i, own in enumerate(golds)]}]}]
        exact, f1 = official.get_raw_scores(data, {str(i): prediction for i, prediction in enumerate(predictions)})
        has = [str(i) for i, own in enumerate(golds) if own]
        none = [str(i) for i, own in enumerate(golds) if not own]
        expected = []
        for ids in (None, has, none):
            means = official.make_eval_dict(exact, f1, ids)
            expected += [means["exact"], means["f1"], means["total"]]
        sets.append({"golds": golds, "predictions": predictions, "expected": expected})
    return {"pairs": pairs, "sets": sets}


def rows(report):
    """A report as scikit-learn and seqeval give it, as rows of precision, recall, F1, support; a mean over nothing is left out."""
    lists = {name: list(map(float, scores.values())) for name, scores in report.items() if isinstance(scores, dict)}
    return {name: scores for name, scores in lists.items() if not np.isnan(scores).any()}


def conlleval(script, gold, predicted):
    lines = []
    for right, guessed in zip(gold, predicted):
        lines += [f"w {a} {b}" for a, b in zip(right, guessed)] + [""]
    output = subprocess.run(["perl", script], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True).stdout
    counts = re.search(r"with (\d+) phrases; found: (\d+) phrases; correct: (\d+)", output).groups()
    types = re.findall(r"^ *(\S+): precision: +([\d.]+)%; recall: +([\d.]+)%; FB1: +([\d.]+)  (\d+)$", output, re.M)
    return {"counts": list(map(int, counts)), "types": {name: list(map(float, scores)) for name, *scores in types}}


def entities(numbers, script):
    cases = []
    for _ in range(80):
        types = numbers.sample(["PER", "LOC", "ORG", "A-B"], numbers.randint(1, 4))
        tags = ["O", "O"] + [prefix + "-" + name for name in types for prefix in "BI"]
        gold = [numbers.choices(tags, k=numbers.randint(1, 9)) for _ in range(numbers.randint(1, 5))]
        predicted = [[tag if numbers.random() < 0.75 else numbers.choice(tags) for tag in sentence] for sentence in gold]
        expected = {"gold": "|".join(map(" ".join, gold)), "predicted": "|".join(map(" ".join, predicted)),
                    "conlleval": conlleval(script, gold, predicted)}
        expected["conll"] = rows(entity_report(gold, predicted, output_dict=True))
        expected["iob2"] = rows(entity_report(gold, predicted, output_dict=True, mode="strict", scheme=IOB2))
        cases.append(expected)
    return cases


def classes(numbers):
    cases = []
    for _ in range(50):
        labels = numbers.sample(["O", "B", "c", "é", "yes", "no", "10", "9"], numbers.randint(1, 6))
        gold = numbers.choices(labels, k=numbers.randint(1, 30))
        predicted = [label if numbers.random() < 0.6 else numbers.choice(labels) for label in gold]
        seen = sorted(set(gold) | set(predicted))
        expected = {"gold": " ".join(gold), "predicted": " ".join(predicted),
                    "labels": seen, "confusion": metrics.confusion_matrix(gold, predicted, labels=seen).tolist(),
                    "accuracy": metrics.accuracy_score(gold, predicted), "matthews": metrics.matthews_corrcoef(gold, predicted),
                    "report": rows(metrics.classification_report(gold, predicted, output_dict=True, zero_division=0))}
        rest = [label for label in seen if label != "O"]
        if "O" in seen and rest:
            precision, recall, f1, _ = metrics.precision_recall_fscore_support(gold, predicted, labels=rest, average="micro",
                                                                               zero_division=0)
            expected["micro without O"] = [precision, recall, f1]
        cases.append(expected)
    return cases


def correlations(numbers):
    cases = []
    for case in range(40):
        # Whole numbers have ties.
        draw = (lambda: float(numbers.randint(0, 5))) if case % 2 else (lambda: round(numbers.gauss(0, 100), 3))
        x = [draw() for _ in range(numbers.randint(3, 25))]
        y = [round(value + numbers.choice([0, 0.5, -2]) * draw(), 3) for value in x]
        if len(set(x)) > 1 and len(set(y)) > 1:
            cases.append({"x": x, "y": y, "pearson": float(stats.pearsonr(x, y)[0]), "spearman": float(stats.spearmanr(x, y)[0])})
    return cases


def rankings(numbers):
    cases = []
    for _ in range(60):
        documents = numbers.randint(2, 12)
        relevance = [numbers.choice([0, 0, 0, 1, 2, 3]) for _ in range(documents)]
        scores = numbers.sample(range(100), documents)
        k = numbers.randint(1, 12)
        gains = [2 ** value - 1 for value in relevance]
        cases.append({"relevance": relevance, "scores": scores, "k": k,
                      "linear": float(metrics.ndcg_score([relevance], [scores], k=k)),
                      "exponential": float(metrics.ndcg_score([gains], [scores], k=k))})
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", required=True)
    parser.add_argument("--conlleval", required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    numbers = random.Random(1)
    golden = {"spaces": [code for code in range(1 << 16) if chr(code).isspace()],
              "tokens": tokens(numbers), "bleu": bleu(numbers), "squad": squad(numbers, options.squad),
              "entities": entities(numbers, options.conlleval), "classes": classes(numbers),
              "correlations": correlations(numbers), "rankings": rankings(numbers)}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(golden, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
