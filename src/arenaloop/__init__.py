"""arenaloop improves chat models with simulated battles instead of human labels."""
