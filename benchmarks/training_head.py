"""One pass of the output layer forward and backward, in this process: MB beyond inputs and gradients, CPU seconds.

python benchmarks/training_head.py blocks|whole
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from arenaloop.train.head import Head, score_hidden, score_logits

POSITIONS, WIDTH, VOCABULARY = 768, 512, 131_072


def memory(name: str) -> float:
    """MB of this process; the kernel's other figure, `ru_maxrss`, is inherited from the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def main() -> None:
    """Print what the way in the arguments takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=["blocks", "whole"])
    way = parser.parse_args().way
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = torch.empty(VOCABULARY, WIDTH).normal_(std=0.02).requires_grad_()
    targets = torch.randint(0, VOCABULARY, (POSITIONS,))
    (hidden[:8] @ weight[:8].T).detach()  # what the first product sets up is in neither figure
    Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is forgotten
    before = memory("VmRSS")
    begun = time.process_time()
    if way == "blocks":
        scores = score_hidden(hidden, Head(weight), targets)
    else:
        scores = score_logits(hidden @ weight.T, targets)
    (-scores.logprobs.mean()).backward()
    seconds = time.process_time() - begun
    peak = memory("VmHWM") - before
    gradients = (weight.numel() + hidden.numel()) * 4 / 2**20
    print(json.dumps({"mb": peak - gradients, "cpu": seconds}))


if __name__ == "__main__":
    main()
