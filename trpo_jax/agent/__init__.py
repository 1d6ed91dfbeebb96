"""What acts: distributions, networks, and the normalisation of what they see."""
