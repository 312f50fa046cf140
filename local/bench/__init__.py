"""The yardstick: what the collector achieves end to end, beside the bare ceiling and the obvious loop.

Everything is measured in one go on one rig: simulated tenants over TLS with gzip, the Event Hubs stand-in over TLS and
Azurite. Every measurement is made by a fresh process that first warms up (imports, connections, first contents) and is
then timed; the kinds take turns, so that a change of the machine's mood meets all of them. A measurement whose events
did not all arrive at the hub, exactly once, is an error and no figure.
"""
