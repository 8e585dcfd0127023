"""What a user can ask for, each operation written once: the API and the program ask here and show the answer."""
