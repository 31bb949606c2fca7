"""Asking a model on the cluster: requests in, answers stored durably, each asked for once."""
