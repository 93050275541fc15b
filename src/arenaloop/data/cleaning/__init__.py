"""Cleaning of a pool of prompts: each step a function over a stream of rows, in the order of Arena Learning."""
