"""What `scripts/bench` measures, one module for each subcommand, and what they share."""
