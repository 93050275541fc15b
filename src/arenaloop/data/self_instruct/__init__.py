"""New prompts from old ones by a model (Self-Instruct, arXiv 2212.10560, as arXiv 2401.10020 and 2407.19594 use it)."""
