"""Judges on trial: against people, against each other, against themselves; and answers that look written for them."""
