"""khulasa.eval: metrics, significance and reports. Knows strings and numbers only."""
