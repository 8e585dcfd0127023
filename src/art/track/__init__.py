"""What happened to a model, told to the programs that people look at. Knows numbers and words, no checkpoint."""
