"""Data, training, searches under hard budgets, latency tables measured on this machine, and the command ``constrained-nas``.

Everything is imported from its module: ``constrained_nas.search.loop``, ``constrained_nas.methods``,
``constrained_nas.latency.timer`` ...
"""
