"""One module for each kind of command: what is asked, and whom to ask for it."""
