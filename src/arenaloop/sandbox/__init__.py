"""A small world where the truth is known: tasks, players, a judge that writes text, and a target to train.

Nothing in a recipe knows that it runs here. Importing this package needs no torch.
"""
