"""Who calls: keys and namespaces in the ledger, issuers of tokens, and what gateways know of them.

pepper, snapshot ← keys, namespaces, issuers ← reading
Gateways import `snapshot` and `pepper` alone: neither needs a database.
"""
