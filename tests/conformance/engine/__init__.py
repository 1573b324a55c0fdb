"""The engine of the conformance suite: a raw client, a recording origin, proxies, and what judges them.

`case` says what a case is, `play` plays one, `accept` judges it, `subject` starts the proxies, `table` prints.
"""
