#!/usr/bin/env python3
"""Makes the golden files of dev.sinter.generate's tests from Hugging Face's transformers: what each of its processors does to
random scores, and what it generates, greedily and by beam search, from the small GPT-2 that gpt2.py made.

    python3 tests/goldens/generation.py                 (needs torch, transformers)
"""
import collections
import itertools
import json
import pathlib
import sys

# This file's own folder comes first on the path, and with it tokenizers.py.
sys.path.pop(0)
import torch
from transformers import GPT2LMHeadModel, LogitsProcessorList
from transformers.generation import logits_process as hf

RESOURCES = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter"
FOLDER = RESOURCES / "generate"
VOCABULARY = 23


def rounded(scores):
    return [None if x == float("-inf") else float(f"{x:.7g}") for x in scores]


def processors():
    """Name, settings as the Java test reads them, the processor for a prompt and the ids behind it."""
    end, ends = torch.tensor([5]), torch.tensor([5, 11])
    bias = [[[3], 1.5], [[4], -2.0], [[7, 8], 3.0], [[2, 7, 8], -1.25], [[9, 9, 9, 9], 5.0]]
    bad = [[5], [6], [7, 9], [1, 2, 10]]
    allowed = lambda row, ids: [int(ids[-1]) % 5, 7, 12]

    yield "sequenceBias", {"biases": bias}, lambda p, s: hf.SequenceBiasLogitsProcessor(bias)
    for x in (1.7, 0.6):
        yield "encoderRepetitionPenalty", {"value": x}, lambda p, s, x=x: hf.EncoderRepetitionPenaltyLogitsProcessor(x, p)
        yield "repetitionPenalty", {"value": x}, lambda p, s, x=x: hf.RepetitionPenaltyLogitsProcessor(x)
    for n in (1, 2, 3):
        yield "noRepeatNgram", {"value": n}, lambda p, s, n=n: hf.NoRepeatNGramLogitsProcessor(n)
        yield "encoderNoRepeatNgram", {"value": n}, lambda p, s, n=n: hf.EncoderNoRepeatNGramLogitsProcessor(n, p)
    yield "badWords", {"words": bad, "end": [5]}, lambda p, s: hf.NoBadWordsLogitsProcessor(bad, end)
    for n in (4, 9):
        yield "minLength", {"value": n, "end": [5, 11]}, lambda p, s, n=n: hf.MinLengthLogitsProcessor(n, ends)
        yield "minNewTokens", {"value": n, "end": [5, 11]}, lambda p, s, n=n: hf.MinNewTokensLengthLogitsProcessor(s, n, ends)
    yield "allowed", {}, lambda p, s: hf.PrefixConstrainedLogitsProcessor(allowed, 1)
    yield "forcedBegin", {"value": 4}, lambda p, s: hf.ForcedBOSTokenLogitsProcessor(4)
    yield "forcedEnd", {"ids": [5, 8], "maxLength": 8}, lambda p, s: hf.ForcedEOSTokenLogitsProcessor(8, [5, 8])
    yield "exponentialDecay", {"start": 2, "value": 1.3, "end": [5, 11]}, \
        lambda p, s: hf.ExponentialDecayLengthPenalty((2, 1.3), ends, s)
    yield "suppress", {"ids": [1, 20]}, lambda p, s: hf.SuppressTokensLogitsProcessor([1, 20])
    yield "beginSuppress", {"ids": [2, 21]}, lambda p, s: hf.SuppressTokensAtBeginLogitsProcessor([2, 21], s)
    for x in (0.3, 2.5):
        yield "temperature", {"value": x}, lambda p, s, x=x: hf.TemperatureLogitsWarper(x)
    for x in (0.2, 0.7):
        yield "topH", {"value": x}, lambda p, s, x=x: hf.TopHLogitsWarper(x)
    for n in (1, 4, 50):
        yield "topK", {"value": n}, lambda p, s, n=n: hf.TopKLogitsWarper(n)
    for x in (0.05, 0.5, 0.93):
        yield "topP", {"value": x}, lambda p, s, x=x: hf.TopPLogitsWarper(x)
        yield "typical", {"value": x}, lambda p, s, x=x: hf.TypicalLogitsWarper(x)
    for x in (0.02, 0.5):
        yield "minP", {"value": x}, lambda p, s, x=x: hf.MinPLogitsWarper(x)
    for x in (0.01, 0.2, 0.9):
        yield "epsilon", {"value": x}, lambda p, s, x=x: hf.EpsilonLogitsWarper(x)
        yield "eta", {"value": x}, lambda p, s, x=x: hf.EtaLogitsWarper(x)
    yield "renormalize", {}, lambda p, s: hf.LogitNormalization()


def processor_goldens():
    generator = torch.Generator().manual_seed(1)
    cases = []
    for name, settings, make in processors():
        # Few tokens, so that n-grams come again; among the sequences one that is all prompt, and one of a single token.
        for length, prompt in ((1, 1), (7, 3), (7, 7), (14, 5)):
            ids = torch.randint(0, 12, (1, length), generator=generator)
            if length == 7:
                ids[0, -2:] = torch.tensor([2, 7] if prompt == 3 else [1, 2])
                ids[0, :2] = ids[0, -2:]
            scores = (torch.randn(1, VOCABULARY, generator=generator) * 3).round(decimals=3)
            out = make(ids[:, :prompt], prompt)(ids, scores.clone())
            cases.append({"name": name, "settings": settings, "ids": ids[0].tolist(), "prompt": prompt,
                          "scores": rounded(scores[0].tolist()), "out": rounded(out[0].tolist())})
    return cases


def chain_golden():
    """The processors of a whole call of generate, in its order, on scores of one step."""
    generator = torch.Generator().manual_seed(2)
    end = torch.tensor([5])
    cases = []
    for _ in range(6):
        ids = torch.randint(0, 9, (1, 10), generator=generator)
        scores = (torch.randn(1, VOCABULARY, generator=generator) * 4).round(decimals=3)
        chain = LogitsProcessorList([
            hf.SequenceBiasLogitsProcessor([[[3], 2.5]]), hf.RepetitionPenaltyLogitsProcessor(1.3),
            hf.NoRepeatNGramLogitsProcessor(2), hf.NoBadWordsLogitsProcessor([[1]], end), hf.MinLengthLogitsProcessor(12, end),
            hf.SuppressTokensLogitsProcessor([7]), hf.TemperatureLogitsWarper(0.7), hf.TopKLogitsWarper(9),
            hf.TopPLogitsWarper(0.9), hf.MinPLogitsWarper(0.02), hf.TypicalLogitsWarper(0.95), hf.EpsilonLogitsWarper(0.01),
            hf.EtaLogitsWarper(0.02), hf.LogitNormalization()])
        out = chain(ids, scores.clone())
        cases.append({"ids": ids[0].tolist(), "scores": rounded(scores[0].tolist()), "out": rounded(out[0].tolist())})
    return cases


def generation_goldens():
    torch.set_num_threads(1)
    model = GPT2LMHeadModel.from_pretrained(RESOURCES / "model/gpt2").eval()
    double = GPT2LMHeadModel.from_pretrained(RESOURCES / "model/gpt2").double().eval()
    prompts = [[3, 1, 4], [15, 9, 2, 6, 53, 5], [58]]
    # Ends that come: the tokens of greedy completions of every token, the most frequent first.
    greedy = model.generate(torch.arange(67)[:, None], max_length=12, do_sample=False, pad_token_id=66)[:, 1:]
    ends = [token for token, _ in collections.Counter(greedy.flatten().tolist()).most_common()]
    cases = []

    def add(prompt, **how):
        tokens = torch.tensor([prompt])
        common = dict(do_sample=False, pad_token_id=66, use_cache=True, return_dict_in_generate=True, output_scores=True)
        out = model.generate(tokens, attention_mask=torch.ones_like(tokens), **how, **common)
        again = double.generate(tokens, attention_mask=torch.ones_like(tokens), **how, **common)
        if out.sequences.tolist() != again.sequences.tolist():
            return  # too near a tie for two precisions to agree: nobody's rounding is a reference
        scores = getattr(out, "sequences_scores", None)
        rows = []
        for i, row in enumerate(out.sequences.tolist()):
            # Behind the end of a row that is shorter than the longest there is padding.
            length = len(row) - len(prompt) if scores is None else int((out.beam_indices[i] >= 0).sum())
            rows.append(row[len(prompt):len(prompt) + length])
        scores = None if scores is None else [round(x, 6) for x in scores.tolist()]
        cases.append({"prompt": prompt, "how": how, "ids": rows, "scores": scores})

    variety = itertools.count()
    for prompt in prompts:
        for eos in (None, ends[:1], ends[5:6], ends[3:6]):
            add(prompt, max_length=20, eos_token_id=eos)
            for beams in (2, 3, 4, 5):
                for early in (True, False, "never"):
                    for penalty in (0.0, 1.0, 2.0, -1.0):
                        i = next(variety)
                        if i % (12 if eos is None else 4):
                            continue
                        add(prompt, max_length=20 if i % 5 else 12, eos_token_id=eos, num_beams=beams, early_stopping=early,
                            length_penalty=penalty, num_return_sequences=beams if i % 3 else 1)
    for prompt in prompts[:2]:
        for beams in (1, 4):
            more = dict(num_beams=beams, max_new_tokens=12, eos_token_id=ends[1:3])
            add(prompt, no_repeat_ngram_size=2, **more)
            add(prompt, repetition_penalty=1.4, **more)
            add(prompt, min_new_tokens=6, **more)
            add(prompt, min_length=9, **more)
            add(prompt, bad_words_ids=[[ends[0]], [ends[3], ends[4]]], **more)
            add(prompt, forced_eos_token_id=ends[1], **more)
            add(prompt, suppress_tokens=ends[4:6], begin_suppress_tokens=ends[:1], **more)
            add(prompt, exponential_decay_length_penalty=(3, 1.2), **more)
            add(prompt, sequence_bias=[[[ends[5]], 1.5], [[ends[0], ends[2]], 4.0]], **more)
            add(prompt, renormalize_logits=True, no_repeat_ngram_size=1, **more)
    return cases


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    golden = {"processors": processor_goldens(), "chain": chain_golden(), "generation": generation_goldens()}
    (FOLDER / "golden.json").write_text(
        "{\n" + ",\n".join(
            json.dumps(name) + ": [\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "]"
            for name, cases in golden.items()) + "}\n")
    beams = [case for case in golden["generation"] if case["scores"]]
    early = sum(len(ids) < 12 for case in beams for ids in case["ids"])
    print(len(golden["processors"]), "processors,", len(golden["generation"]), "generations,", len(beams), "by beams,", early,
          "hypotheses that end early")


if __name__ == "__main__":
    main()
