"""Evaluation: tasks (one benchmark a file), batch inference, scoring, statistics, report."""
