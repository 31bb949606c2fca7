"""Answers for an archive: rows of pictures and questions, each asked once, all accounted for."""
