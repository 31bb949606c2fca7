"""The multimodal model: vision tower, projector, language model, and how they are written out."""
