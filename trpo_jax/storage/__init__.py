"""Files that are written completely or not at all, and that hold no code."""
