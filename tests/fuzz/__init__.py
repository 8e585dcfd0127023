"""Fuzzing: whatever stands in a file, an answer or a request that comes from outside, one of two things happens."""
