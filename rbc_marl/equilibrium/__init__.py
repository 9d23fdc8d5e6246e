"""Whether trained economies are equilibria: best responses, taxes, and studies of many runs."""
