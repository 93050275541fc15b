"""One pass of the output layer forward and backward, in this process: MB beyond inputs and gradients, CPU seconds.

python benchmarks/training_head.py {blocks,whole}
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from arenaloop.train.head import Head, score_hidden, score_logits

POSITIONS, WIDTH, VOCABULARY = 768, 512, 131_072


def main() -> None:
    """Print what the way in the arguments takes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = torch.empty(VOCABULARY, WIDTH).normal_(std=0.02).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (POSITIONS,))
    (hidden[:8] @ weight[:8].T).detach()  # what the first product sets up is in neither figure
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    if sys.argv[1] == "blocks":
        scores = score_hidden(hidden, Head(weight), targets)
    else:
        scores = score_logits(hidden @ weight.T, targets)
    (-scores.logprobs.mean()).backward()
    seconds = time.process_time() - begun
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gradients = (weight.numel() + hidden.numel()) * 4 / 2**20
    print(json.dumps({"mb": peak - gradients, "cpu": seconds}))


if __name__ == "__main__":
    main()
