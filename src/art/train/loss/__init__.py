"""What sampled tokens cost: a file for each idea, pure functions over vectors of loss tokens. Knows no model."""
