"""What was used and what it cost: an append-only ledger in exact decimals."""
