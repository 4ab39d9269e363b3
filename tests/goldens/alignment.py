#!/usr/bin/env python3
"""Makes the golden file of AlignmentGoldenTest: fixed rollouts, rankings and preferences, and what the formulas of InstructGPT, PPO
and DPO make of them in double precision.

    python3 tests/goldens/alignment.py

needs torch. Responses are padded to one length and masked here, advantages are the sum of eq. 16 of the GAE paper, and gradients
are autograd's; the library has responses of their own lengths, a recursion, and gradients by hand. So the two share no way of
computing.
"""
import itertools
import json
import pathlib

import torch
import torch.nn.functional as F

FILE = pathlib.Path(__file__).parents[2] / "java/sinter/src/test/resources/dev/sinter/align/alignment.json"
torch.set_default_dtype(torch.float64)


def ragged(tensor, lengths):
    return [row[:n].tolist() for row, n in zip(tensor, lengths)]


def masked_mean(x, mask):
    return (x * mask).sum() / mask.sum()


def whiten(x, mask, keep_mean):
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean) ** 2, mask)
    white = (x - mean) * torch.rsqrt(variance + 1e-8)
    return white + mean if keep_mean else white


def rollout(seed, lengths, gamma, lam, beta, clip, value_clip, drift):
    g = torch.Generator().manual_seed(seed)
    batch, width = len(lengths), max(lengths)
    mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).double()
    draw = lambda scale: torch.randn(batch, width, generator=g) * scale
    old = -draw(1).abs() - 0.1
    reference = old + draw(0.3)
    values = draw(0.7)
    scores = torch.randn(batch, generator=g)
    new = (old + draw(drift)).requires_grad_()
    new_values = (values + draw(drift)).requires_grad_()

    kl = (old - reference) * mask
    rewards = -beta * kl
    for i, n in enumerate(lengths):
        rewards[i, n - 1] += scores[i]
    after = torch.cat([values * mask, torch.zeros(batch, 1)], 1)
    delta = rewards + gamma * after[:, 1:] - after[:, :-1]
    advantages = torch.zeros(batch, width)
    for t in range(width):
        for later in range(t, width):
            advantages[:, t] += (gamma * lam) ** (later - t) * delta[:, later] * mask[:, later]
    returns = advantages + values
    white = whiten(advantages, mask, False)
    white_rewards = whiten(rewards, mask, True)

    ratio = torch.exp(new - old)
    unclipped, clipped = -white * ratio, -white * torch.clamp(ratio, 1 - clip, 1 + clip)
    policy = masked_mean(torch.max(unclipped, clipped), mask)
    near = torch.clamp(new_values, values - value_clip, values + value_clip)
    first, second = (new_values - returns) ** 2, (near - returns) ** 2
    value = 0.5 * masked_mean(torch.max(first, second), mask)
    policy.backward()
    value.backward()
    own = lambda x: ragged(x.detach(), lengths)
    return dict(
        gamma=gamma, lam=lam, beta=beta, clip=clip, value_clip=value_clip,
        old=own(old), reference=own(reference), values=own(values), scores=scores.tolist(), new=own(new), new_values=own(new_values),
        rewards=own(rewards), white_rewards=own(white_rewards), advantages=own(advantages), returns=own(returns), white=own(white),
        kl=kl.sum(1).mean().item(), approximate_kl=masked_mean(0.5 * (new - old) ** 2, mask).item(),
        policy_loss=policy.item(), policy_gradient=own(new.grad), policy_clipped=masked_mean((clipped > unclipped).double(), mask).item(),
        value_loss=value.item(), value_gradient=own(new_values.grad), value_clipped=masked_mean((second > first).double(), mask).item())


def ranking(seed, ranks, scale):
    g = torch.Generator().manual_seed(seed)
    rewards = (torch.randn(len(ranks), generator=g) * scale).requires_grad_()
    pairs = [(i, j) for i, j in itertools.permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]
    loss = -torch.stack([F.logsigmoid(rewards[i] - rewards[j]) for i, j in pairs]).mean()
    loss.backward()
    return dict(ranks=ranks, rewards=rewards.tolist(), loss=loss.item(), gradient=rewards.grad.tolist(), pairs=len(pairs),
                right=sum(bool(rewards[i] > rewards[j]) for i, j in pairs))


def preference(seed, beta, smoothing, scale):
    g = torch.Generator().manual_seed(seed)
    x = (torch.randn(4, generator=g) * scale - 20).requires_grad_()
    logits = (x[0] - x[1]) - (x[2] - x[3])
    loss = -F.logsigmoid(beta * logits) * (1 - smoothing) - F.logsigmoid(-beta * logits) * smoothing
    loss.backward()
    return dict(beta=beta, smoothing=smoothing, logprobs=x.tolist(), loss=loss.item(), gradient=x.grad[:2].tolist(),
                chosen=(beta * (x[0] - x[2])).item(), rejected=(beta * (x[1] - x[3])).item())


def control(beta, target, horizon, steps):
    golden = dict(beta=beta, target=target, horizon=horizon, steps=steps, betas=[])
    for kl, episodes in steps:
        error = torch.clamp(torch.tensor(kl / target - 1), -0.2, 0.2).item()
        beta *= 1 + error * episodes / horizon
        golden["betas"].append(beta)
    return golden


def main():
    golden = dict(
        rollouts=[rollout(1, [5, 1, 7, 3], 1, 0.95, 0.02, 0.2, 0.2, 0.1),
                  rollout(2, [1], 1, 0.95, 0.1, 0.2, 0.2, 0.4),
                  rollout(3, [12, 9, 2], 0.99, 0.9, 0.3, 0.1, 0.3, 0.5),
                  rollout(4, [4, 4, 4, 4, 4], 1, 1, 0, 0.2, 0.2, 0)],
        rankings=[ranking(5, [0, 1], 1), ranking(6, [0, 1, 2, 3], 2), ranking(7, [0, 1, 1, 2, 2, 0, 3, 3, 3], 1),
                  ranking(8, [1, 0], 500)],
        preferences=[preference(9, 0.1, 0, 5), preference(10, 0.5, 0.1, 5), preference(11, 2, 0, 300)],
        control=control(0.15, 6, 10000, [[3.0, 512], [6.5, 512], [40.0, 64], [0.0, 10000]]))
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
