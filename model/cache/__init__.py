"""The book-keeping of a cache, whoever keeps the keys and values: which tokens it holds, and what a prompt can use."""
