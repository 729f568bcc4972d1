"""The recipes that make the shipped models, and that fine-tune a user's own."""
