"""The natural-gradient step and its parts: functions of parameters that need no RL."""
