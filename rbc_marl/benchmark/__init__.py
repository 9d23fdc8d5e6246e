"""Speed of the economy, of its environments, of sampling and of training, each measured against a reference."""
