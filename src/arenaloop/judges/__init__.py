"""Who decides: judges, and how both seats of a pair become one battle."""
