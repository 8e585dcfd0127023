"""Tool calls as models write them: one file for each dialect, and which one a chat template teaches."""
