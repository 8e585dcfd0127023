"""What `learning.py` compares: tasks, the sides that learn them, and the picture of what came of it."""
