"""Ratings, intervals, win rates and agreement: pure functions on numpy arrays."""
