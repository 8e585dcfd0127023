"""One module for each command: what is asked, and whom to ask for it."""
