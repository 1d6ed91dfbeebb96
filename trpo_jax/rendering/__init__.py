"""Recording a trained agent as a video."""
