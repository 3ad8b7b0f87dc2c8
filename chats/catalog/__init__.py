"""Which AI models exist, who may use them and what they cost."""
