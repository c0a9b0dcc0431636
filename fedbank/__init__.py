"""fedbank: federated learning and privacy computing between a bank and a regulator."""
