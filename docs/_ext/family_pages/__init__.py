"""What the pages of the families consist of: figures drawn from traces, tables from the registry and the proofs."""
