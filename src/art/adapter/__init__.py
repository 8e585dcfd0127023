"""What sampling and training share over a base model: adapters, and how a pass of ours attends. Knows no store."""
