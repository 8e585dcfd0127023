"""The pages: their code runs, their links arrive, and what they list is what there is."""
