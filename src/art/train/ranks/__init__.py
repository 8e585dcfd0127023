"""Training in several processes at once, with the bits of one."""
