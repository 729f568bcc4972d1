"""khulasa.models: checkpoints, engines, devices, the translator and the summarizer."""
