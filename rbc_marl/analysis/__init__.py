"""What happened in an economy, as numbers and as data."""
