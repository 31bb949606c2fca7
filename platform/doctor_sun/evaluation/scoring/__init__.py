"""Scores of one answer: the published definitions to the digit, and corrected ones.

`published` keeps every quirk of the tools behind the published tables. `corrected` keeps the same
metrics and removes the faults: letters and Chinese count as tokens, "not" is no "no", and an answer
that cannot be read is counted as unparsable instead of landing on an option by accident.
"""

from doctor_sun.evaluation.scoring.row import SCORINGS, Row, Score, Scorer, Scoring, hit

__all__ = ["SCORINGS", "Row", "Score", "Scorer", "Scoring", "hit"]
