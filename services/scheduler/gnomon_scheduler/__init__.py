"""The scheduler service: it owns time and task state, and says when and whether something runs."""
