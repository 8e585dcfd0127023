"""Tokens out: requests become sampled tokens and their log-probabilities. Knows neither the store nor HTTP."""
