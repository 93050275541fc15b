"""Judges, reward models and battles as rewards over HTTP, for trainers of other projects."""
