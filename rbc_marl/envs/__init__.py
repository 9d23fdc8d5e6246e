"""The economy as environments of other libraries: PettingZoo, Gymnasium, TorchRL, BenchMARL."""
