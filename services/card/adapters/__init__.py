"""What connects the use cases with gRPC, PostgreSQL, the ledger and the key store."""
